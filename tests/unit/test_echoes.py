"""Echoes: whoever wrote a record hears of it what every stranger hears, by less work."""

from collections.abc import Sequence
from typing import Any

import pytest

from schemas.codec import own_schemas
from schemas.envelope import Inputs, Record
from schemas.events import BudgetHeld, GapAccepted, KeyRevoked
from schemas.keys import key_id, raw_public_key
from schemas.opening import Opener
from streams.author import Draft, Scribe, seal_all
from streams.reader import Item, Reader
from streams.stage import Heard
from tests.support.memory_log import MemoryLog
from tests.support.scene import EPOCH_US, SITE, Scene

POLICY = "stage:policy"
TOPICS = ("governance", "approvals")
_HOUR_US = 3_600_000_000


class Told:
    """A site, a reader in it who writes under policy's name, and what that one wrote last."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.reader = self.stranger()
        self.scribe = Scribe(POLICY, SITE, {schema.event_type: schema for schema in own_schemas()})

    def stranger(self) -> Reader:
        """Another reader, who has written nothing."""
        return Reader(self.scene.log, 0, TOPICS, {SITE: self.scene.root})

    def sealed(self, jobs: Sequence[str], time_us: int = EPOCH_US) -> list[Record]:
        """Money held for jobs, sealed and awaited by the reader."""
        events = [BudgetHeld(job_id=job, amount_microusd=1) for job in jobs]
        read = Inputs(1, 1, (("intents", 1),))
        written = [self.scribe.write(Draft("approvals", event, event.job_id, time_us, inputs=read)) for event in events]
        heard = [
            Heard(event, SITE, POLICY, "policy", "", each.digest.hex(), time_us, each.cause, inputs=read)
            for event, each in zip(events, written, strict=True)
        ]
        sealed = seal_all(written, self.scene.keys[POLICY])
        self.reader.expect(SITE, sealed, heard)
        return sealed

    async def both(self) -> tuple[list[Item], list[Item]]:
        """What the reader hears of it all, and what a stranger hears."""
        own = await self.reader.read()
        return own, [item for item in await self.stranger().read() if getattr(item, "source", "") == POLICY]


@pytest.fixture
async def told() -> Told:
    scene = Scene(MemoryLog(lambda: EPOCH_US))
    await scene.found()
    told = Told(scene)
    governance = [item for item in await told.reader.read() if isinstance(item, Heard)]
    scene.scribes["root"] = Scribe(
        "root", SITE, told.reader.admission(SITE).writable, {"governance": governance[-1].cause.sequence}
    )
    return told


async def test_what_a_reader_wrote_comes_back_as_strangers_hear_it(told: Told) -> None:
    await told.scene.log.append(told.sealed(["job-1", "job-2", "job-3"]))
    own, strangers = await told.both()
    assert own == strangers
    assert len(own) == 3


async def test_its_seal_is_not_checked_again(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Any] = []
    monkeypatch.setattr(Opener, "check", lambda _, group: checked.append(group))
    await told.scene.log.append(told.sealed(["job-1"]))
    assert len(await told.reader.read()) == 1
    assert not checked


@pytest.mark.parametrize(
    "change", [{"value": b"\x00\x00\x00\x00\x01x"}, {"subject": "job-9"}, {"seal": b"\x01" * 89}, {"sequence": "9"}]
)
async def test_a_record_that_is_not_the_one_written_is_judged_like_a_stranger_s(
    told: Told, change: dict[str, Any]
) -> None:
    [sealed] = told.sealed(["job-1"])
    await told.scene.log.append([sealed._replace(**change)])
    own, _ = await told.both()
    [strangers] = [item for item in await told.stranger().read() if not isinstance(item, Heard)]
    assert own == [strangers]


async def test_what_was_written_under_a_key_that_is_revoked_meanwhile_is_refused(told: Told) -> None:
    sealed = told.sealed(["job-1"])
    revoked = KeyRevoked(key_id=key_id(raw_public_key(told.scene.keys[POLICY])), reason="lost")
    await told.scene.log.append(sealed)
    await told.scene.say("root", Draft("governance", revoked, POLICY, EPOCH_US))
    own, strangers = await told.both()
    assert [getattr(item, "reason", "") for item in own[-1:]] == ["key_revoked"]
    assert own[-1:] == strangers


async def test_a_second_record_of_the_same_bytes_is_a_repeated_one(told: Told) -> None:
    sealed = told.sealed(["job-1"])
    await told.scene.log.append([*sealed, *sealed])
    own, strangers = await told.both()
    assert [getattr(item, "reason", "") for item in own] == ["", "sequence_repeated"]
    assert own == strangers


async def test_what_is_dated_ahead_of_the_log_is_refused(told: Told) -> None:
    await told.scene.log.append(told.sealed(["job-1"], EPOCH_US + _HOUR_US))
    own, strangers = await told.both()
    assert [getattr(item, "reason", "") for item in own] == ["time_ahead"]
    assert own == strangers


async def test_what_follows_a_gap_is_suspended_until_it_is_accepted(told: Told) -> None:
    told.sealed(["job-lost"])
    await told.scene.log.append(told.sealed(["job-2"]))
    own, strangers = await told.both()
    assert [getattr(item, "reason", "") for item in own] == ["sequence_gap"]
    assert own == strangers
    accepted = GapAccepted(source=POLICY, topic="approvals", next_sequence=3, reason="lost")
    await told.scene.say("root", Draft("governance", accepted, POLICY, EPOCH_US))
    await told.scene.log.append(told.sealed(["job-3"]))
    assert [type(item.event) for item in await told.reader.read() if isinstance(item, Heard)] == [
        GapAccepted,
        BudgetHeld,
    ]
