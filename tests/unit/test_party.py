"""A party that is not believed: it stops and says so, until somebody has looked into it."""

import asyncio
from pathlib import Path

import pytest

from agents.drafts import draft
from agents.party import Party, RecordRefused
from schemas.admission import CLOCK_SKEW_US_MAX
from schemas.envelope import Record
from schemas.events import ArtifactStored, GapAccepted, StepFailed
from streams.author import EventOversized, Scribe, seal_all
from tests.support.memory_log import MemoryLog
from tests.support.town import SITE, Town, new_town

STORED = ArtifactStored(digest="ab" * 32, media_type="text/plain", size_bytes=1)
AHEAD_US = CLOCK_SKEW_US_MAX + 1


class Teller(Party):
    """Owes one event, dated by a clock that may be wrong, until it hears it."""

    ahead_us = AHEAD_US
    is_told = False

    def hear(self, heard: object) -> None:
        event = getattr(heard, "event", None)
        self.is_told = self.is_told or event == STORED

    async def work(self) -> bool:
        if not self.is_told:
            await self.say(draft(STORED, self.clock.now_us() + self.ahead_us, subject=SITE))
        return not self.is_told


def teller(town: Town, source: str = "sandbox:main") -> Teller:
    return Teller(town.member(source), town.log, town.clock)


def records_of(log: MemoryLog, source: str) -> int:
    told = log._records["results", 0]
    return sum(isinstance(each.record, Record) and each.record.source == source for each in told)


async def refused(directory: Path) -> tuple[Town, Teller]:
    """A town in which a party has said something that nobody believes."""
    town = await new_town(directory)
    party = teller(town)
    assert await party.step()
    return town, party


def test_a_party_whose_record_is_refused_says_so_and_does_not_repeat_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        town, party = await refused(tmp_path)
        for each in (party, party, teller(town), teller(town)):
            with pytest.raises(RecordRefused, match=r"sandbox:main says nothing more.*time_ahead.*GapAccepted"):
                await each.step()
        assert records_of(town.log, "sandbox:main") == 1

    asyncio.run(scenario())


def test_it_goes_on_when_an_admin_has_looked_into_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        town, _ = await refused(tmp_path)
        accepted = GapAccepted(topic="results", source="sandbox:main", next_sequence=2, reason="its clock was wrong")
        told = len(town.log._records["governance", 0])
        written = Scribe("root", SITE, town.schemas, {"governance": told}).write(
            draft(accepted, town.clock.now_us(), subject=SITE)
        )
        await town.log.append(seal_all([written], town.keys["root"]))
        again = teller(town)
        again.ahead_us = 0
        await town.run(again)
        assert again.is_told

    asyncio.run(scenario())


def test_a_party_is_not_stopped_by_what_is_refused_of_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        town, _ = await refused(tmp_path)
        device = teller(town, "device:onprem-iontrap-1")
        device.ahead_us = 0
        await town.run(device)
        assert device.is_told

    asyncio.run(scenario())


def test_a_party_is_not_stopped_by_a_copy_of_its_record(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await new_town(tmp_path)
        party = teller(town)
        party.ahead_us = 0
        await town.run(party)
        await town.log.append([town.log._records["results", 0][-1].record])
        for each in (party, teller(town)):
            await each.step()

    asyncio.run(scenario())


def test_a_party_that_wrote_too_much_has_said_nothing_and_may_say_less(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await new_town(tmp_path)
        party = teller(town)
        large = StepFailed(job_id="job-1", step=0, reason="x", message="m" * (1 << 20))
        with pytest.raises(EventOversized):
            await party.say(draft(STORED, town.clock.now_us(), subject=SITE), draft(large, town.clock.now_us()))
        party.ahead_us = 0
        await town.run(party)
        assert party.is_told
        assert records_of(town.log, "sandbox:main") == 1

    asyncio.run(scenario())
