"""Requests for calibrations: an agent's signed wish goes in, a fresh snapshot and its cost in device time come out."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.devices.wanted import FRESH_US
from agents.gateway import Gateway
from agents.replies import Refused, Said
from replay import standalone
from replay.proofs import proofs_of
from schemas.admission import Admitted, EnrolledKey
from schemas.batch import Stored
from schemas.calibrations import CalibrationWish, sign_calibration
from schemas.envelope import Stray
from schemas.events import CalibrationFinished, CalibrationRequested, DeviceSnapshotTaken, HaltOrdered, HumanProof
from schemas.keys import key_id, raw_public_key
from schemas.people import signed_words
from schemas.words import Event
from streams.stage import Heard
from tests.support.town import AGENT, APPROVER, EPOCH_US, GARNET, SITE, STRANGER, TRAP, Town, new_town

LATER_US = EPOCH_US + FRESH_US + 1


def wish(key: Ed25519PrivateKey, request_id: str = "fresh-1", **changes: Any) -> str:
    asked = {"site": SITE, "device": TRAP, "max_age_s": 0, "reason": "before a long job"} | changes
    return sign_calibration(CalibrationWish.model_validate({"request_id": request_id} | asked), key)


async def measured_town(directory: Path) -> tuple[Town, Gateway]:
    """A town whose trap has calibrated, some time ago."""
    town = await new_town(directory)
    await town.run(town.device())
    town.clock.advance_to(LATER_US)
    return town, town.gateway()


def test_a_device_that_is_asked_measures_anew_and_says_what_it_took(tmp_path: Path) -> None:
    async def scenario() -> None:
        town, gateway = await measured_town(tmp_path)
        assert isinstance(await gateway.request_calibration(wish(town.keys[AGENT])), Said)
        await town.run(town.device())
        (finished,) = await town.events(CalibrationFinished)
        (_, second) = await town.events(DeviceSnapshotTaken)
        assert (finished.request_id, finished.snapshot_digest) == ("fresh-1", second.snapshot_digest)
        assert (finished.taken_us, finished.device_time_us > 0) == (LATER_US, True)

    asyncio.run(scenario())


@pytest.mark.parametrize("max_age_s", [FRESH_US // 1_000_000 + 1, 0])
def test_a_calibration_that_is_young_enough_costs_no_device_time(tmp_path: Path, max_age_s: int) -> None:
    async def scenario() -> None:
        town, gateway = await measured_town(tmp_path)
        if max_age_s == 0:  # younger than a device lets anyone ask for
            await gateway.request_calibration(wish(town.keys[AGENT]))
            await town.run(town.device())
            town.clock.advance_to(town.clock.now_us() + 1)
        before = await town.events(DeviceSnapshotTaken)
        await gateway.request_calibration(wish(town.keys[AGENT], "fresh-2", max_age_s=max_age_s))
        town.clock.advance_to(town.clock.now_us() + 1)
        await town.run(town.device())
        *_, finished = await town.events(CalibrationFinished)
        assert (finished.request_id, finished.device_time_us) == ("fresh-2", 0)
        assert await town.events(DeviceSnapshotTaken) == before

    asyncio.run(scenario())


def test_the_same_request_twice_is_one_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        town, gateway = await measured_town(tmp_path)
        first = await gateway.request_calibration(wish(town.keys[AGENT]))
        assert await gateway.request_calibration(wish(town.keys[AGENT])) == first
        assert len(await town.events(CalibrationRequested)) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"device": "nowhere-1"}, "device_unknown"),
        ({"device": GARNET}, "device_unknown"),  # it has not calibrated yet, so nothing is known of it
        ({"site": "site-b"}, "site_unknown"),
    ],
    ids=["no such device", "silent device", "another site"],
)
def test_a_request_that_nobody_can_meet_is_refused(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    async def scenario() -> None:
        town, gateway = await measured_town(tmp_path)
        refused = await gateway.request_calibration(wish(town.keys[AGENT], **changes))
        assert isinstance(refused, Refused)
        assert refused.code == code
        assert await town.events(CalibrationRequested) == []

    asyncio.run(scenario())


def test_a_request_id_stands_for_one_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        town, gateway = await measured_town(tmp_path)
        await gateway.request_calibration(wish(town.keys[AGENT]))
        refused = await gateway.request_calibration(wish(town.keys[AGENT], reason="another reason"))
        assert isinstance(refused, Refused)
        assert refused.code == "request_repeated"

    asyncio.run(scenario())


@pytest.mark.parametrize("signer", ["approver:tester", "nobody"])
def test_only_enrolled_agents_ask(tmp_path: Path, signer: str) -> None:
    async def scenario() -> None:
        town, gateway = await measured_town(tmp_path)
        key = town.keys.get(signer) or Ed25519PrivateKey.generate()
        assert isinstance(await gateway.request_calibration(wish(key)), Refused)
        assert await town.events(CalibrationRequested) == []

    asyncio.run(scenario())


def halt(town: Town, **changes: Any) -> HaltOrdered:
    """A halt as the approver orders it."""
    key = town.keys[APPROVER]
    said = {"halt_id": "h1", "scope": "agent", "target": AGENT, "person": APPROVER, "reason": "smoke", "ordered_us": 1}
    unsigned = HumanProof(proof_type="ed25519", key_id=key_id(raw_public_key(key)), signature=b"")
    words = HaltOrdered.model_validate(said | {"proof": unsigned} | changes)
    signature = key.sign(signed_words(words, SITE))
    return words.model_copy(update={"proof": unsigned.model_copy(update={"signature": signature})})


@pytest.mark.parametrize("scope", [{}, {"scope": "device", "target": TRAP}, {"scope": "site", "target": SITE}])
def test_nothing_is_measured_for_who_or_where_is_halted(tmp_path: Path, scope: dict[str, str]) -> None:
    async def scenario() -> None:
        town, gateway = await measured_town(tmp_path)
        await gateway.request_calibration(wish(town.keys[AGENT]))
        assert isinstance(await gateway.petition(halt(town, **scope)), Said)
        refused = await gateway.request_calibration(wish(town.keys[AGENT], "fresh-2"))
        assert isinstance(refused, Refused)
        assert refused.code == "halted"
        await town.run(town.device())
        assert len(await town.events(DeviceSnapshotTaken)) == 1  # what was asked before the halt waits for its end

    asyncio.run(scenario())


def test_verifiers_believe_a_request_only_as_its_agent_signed_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        town, gateway = await measured_town(tmp_path)
        await gateway.request_calibration(wish(town.keys[AGENT]))
        (heard,) = [each for each in await town.heard() if isinstance(each.event, CalibrationRequested)]
        keys, (event,) = gateway.keys, await town.events(CalibrationRequested)
        assert believed(heard, event, keys, SITE) == (True, True)
        assert believed(heard, event, keys, "site-b") == (False, False)
        changed: tuple[dict[str, Any], ...] = (
            {"device": GARNET},
            {"max_age_s": 1},
            {"reason": "other"},
            {"request_id": "fresh-9"},
            {"initiator": STRANGER},
            {"agent_key_id": key_id(raw_public_key(town.keys[STRANGER]))},
            {"agent_proof": event.agent_proof[:-8] + "AAAAAAAA"},
        )
        for each in changed:
            assert believed(heard, event.model_copy(update=each), keys, SITE) == (False, False), each

    asyncio.run(scenario())


def believed(heard: Heard, event: Event, keys: Mapping[str, EnrolledKey], site: str) -> tuple[bool, bool]:
    """Whether the audit, and whether the stand-alone verifier, find what is signed inside an event sound."""
    stored = Stored("intents", 0, 0, 0, Stray("intents", b"", b"", ()))
    gateway = next(key for key in keys.values() if key.source == heard.source)
    admitted = Admitted(
        event, bytes(32), stored, heard.source, "gateway", gateway.key_id, heard.cause.sequence, heard.time_us, (), None
    )
    audit = all(proof.holds for proof in proofs_of(admitted, keys, {}, {}, site))
    enrolled = {
        name: standalone.Key(name, key.public_key.public_bytes_raw(), key.source, key.role, [])
        for name, key in keys.items()
        if key.record_key
    }
    record = standalone.Record("intents", 0, 0, {}, b"", b"", "")
    seen = standalone.Event(
        record, "CalibrationRequested", event.model_dump(), "", enrolled[gateway.key_id], heard.cause.sequence, 0, []
    )
    try:
        standalone.check_calibration(seen, site, enrolled)
    except standalone.Wrong:
        return audit, False
    return audit, True


def test_two_agents_are_answered_by_one_calibration(tmp_path: Path) -> None:
    async def scenario() -> None:
        town, gateway = await measured_town(tmp_path)
        for agent in (AGENT, STRANGER):
            await gateway.request_calibration(wish(town.keys[agent]))
        await town.run(town.device())
        assert len(await town.events(CalibrationFinished)) == 2
        assert len(await town.events(DeviceSnapshotTaken)) == 2

    asyncio.run(scenario())


def test_a_device_that_was_restarted_still_owes_the_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        town, gateway = await measured_town(tmp_path)
        device = town.device()
        await gateway.request_calibration(wish(town.keys[AGENT]))
        await device.listen()  # it has heard, and dies before it answers
        await town.run(town.device())
        await town.run(town.device())
        assert len(await town.events(CalibrationFinished)) == 1

    asyncio.run(scenario())
