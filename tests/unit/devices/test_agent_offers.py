"""A device agent between jobs: calibrations, states, offers and slots."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.devices.snapshot import read_snapshot
from schemas.events import (
    DeviceSnapshotTaken,
    DeviceStatusChanged,
    PlacementOffered,
    PriceListPublished,
    ReservationExpired,
    ReservationGranted,
    ReservationRefused,
    ReservationReleased,
)
from tests.support.bell import encoded
from tests.support.placed import SLOT, admitted_job, placed_job
from tests.support.town import EPOCH_US, GARNET, TRAP, new_town

HOUR_US = 3_600_000_000


def test_a_device_calibrates_and_publishes_what_it_measured(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await new_town(tmp_path)
        await town.run(town.device())
        (taken,) = await town.events(DeviceSnapshotTaken)
        snapshot = read_snapshot(town.artifacts.get(taken.snapshot_digest))
        assert (snapshot.device_id, snapshot.taken_us) == (TRAP, EPOCH_US)
        assert taken.two_qubit_fidelity == pytest.approx(snapshot.figures.two_qubit[0, 1])
        assert taken.two_qubit_fidelity_error > 0

    asyncio.run(scenario())


def test_a_device_says_that_it_is_on_line_and_how_long_its_queue_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await new_town(tmp_path)
        await town.run(town.device())
        (status,) = await town.events(DeviceStatusChanged)
        assert status.status == "online"
        assert status.queue_jobs == town.fleet[TRAP].queue(EPOCH_US).jobs_ahead

    asyncio.run(scenario())


def test_a_restarted_agent_uses_the_snapshot_that_is_there(tmp_path: Path) -> None:
    async def scenario() -> int:
        town = await new_town(tmp_path)
        await town.run(town.device())
        await town.run(town.device())
        return len(await town.events(DeviceSnapshotTaken))

    assert asyncio.run(scenario()) == 1


@pytest.mark.parametrize(("hours", "calibrations"), [(3, 1), (5, 2)])
def test_a_snapshot_that_is_too_old_is_taken_anew(tmp_path: Path, hours: int, calibrations: int) -> None:
    async def scenario() -> int:
        town = await new_town(tmp_path)
        agent = town.device()
        await town.run(agent)
        town.clock.advance_to(EPOCH_US + hours * HOUR_US)
        await town.run(agent)
        return len(await town.events(DeviceSnapshotTaken))

    assert asyncio.run(scenario()) == calibrations


def test_a_snapshot_whose_document_is_gone_is_taken_anew(tmp_path: Path) -> None:
    async def scenario() -> int:
        town = await new_town(tmp_path)
        await town.run(town.device())
        for document in (tmp_path / "artifacts").iterdir():
            document.unlink()
        town.clock.advance_to(EPOCH_US + 1)
        await town.run(town.device())
        return len(await town.events(DeviceSnapshotTaken))

    assert asyncio.run(scenario()) == 2


def test_an_admitted_job_gets_one_offer_against_the_latest_snapshot(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await admitted_job(await new_town(tmp_path))
        await job.run()
        await job.town.run(job.town.device())
        (offered,) = await job.town.events(PlacementOffered)
        (taken,) = await job.town.events(DeviceSnapshotTaken)
        assert offered.fits
        assert (offered.intent_digest, offered.snapshot_digest) == (job.intent_digest, taken.snapshot_digest)
        assert 0.9 < offered.predicted_success < 1
        assert offered.price_microusd > 0

    asyncio.run(scenario())


def test_a_device_says_why_a_job_does_not_fit(tmp_path: Path) -> None:
    ring = "OPENQASM 3.0;\nqubit[3] q;\nbit[3] c;\ncz q[0], q[1];\ncz q[1], q[2];\ncz q[2], q[0];\nc = measure q;\n"

    async def scenario() -> list[PlacementOffered]:
        town = await new_town(tmp_path)
        garnet = town.device(GARNET)
        await town.run(garnet)
        await admitted_job(town, devices=(TRAP, GARNET), quantum__circuit=encoded(ring), quantum__parameters={})
        await town.run(garnet)
        return await town.events(PlacementOffered)

    (offered,) = asyncio.run(scenario())
    assert not offered.fits
    assert offered.reason.startswith("circuit_does_not_fit: template 0: fits_nowhere")


def test_without_a_price_a_device_does_not_fit(tmp_path: Path) -> None:
    async def scenario() -> PlacementOffered:
        town = await new_town(tmp_path)
        job = await admitted_job(town)
        await town.say("root", PriceListPublished(devices=(), classical_second_microusd=1))
        await job.run()
        return (await town.events(PlacementOffered))[0]

    offered = asyncio.run(scenario())
    assert not offered.fits
    assert offered.reason.startswith("price_unknown")


def test_a_job_that_wants_a_fresher_calibration_gets_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await new_town(tmp_path)
        await town.run(town.device())
        town.clock.advance_to(EPOCH_US + HOUR_US)
        job = await admitted_job(town, max_calibration_age_s=60)
        await job.run()
        (offered,) = await town.events(PlacementOffered)
        assert offered.snapshot_taken_us == EPOCH_US + HOUR_US

    asyncio.run(scenario())


def test_a_slot_is_held_under_a_token_that_stays_with_the_agent(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        (granted,) = await job.town.events(ReservationGranted)
        token = job.agent._slots.token(SLOT)
        held = job.town.fleet[TRAP].ledger.reservation(granted.token_digest)
        assert held is not None
        assert (held.job_id, held.slot_start_us) == ("bell-1", granted.starts_us)
        on_log = repr(job.town.log._records).encode()
        assert token.hex().encode() not in on_log
        assert repr(token)[2:-1].encode() not in on_log

    asyncio.run(scenario())


def test_a_request_answered_before_a_crash_gets_the_same_slot_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await new_town(tmp_path)
        job = await admitted_job(town)
        await job.run()
        await job.request()
        await job.agent.listen()
        (request, _) = job.agent._requests[SLOT]
        before = job.agent._slots.answer(request, job.agent._jobs["bell-1"], town.clock.now_us())
        town.clock.advance_to(town.clock.now_us() + 1_000_000)
        await town.run(town.device())
        assert [before] == await town.events(ReservationGranted)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shots": 8_001}, "shots_over_ceiling"),
        ({"intent_digest": "f" * 64}, "intent_mismatch"),
        ({"job_id": "never-admitted"}, "intent_not_admitted"),
    ],
    ids=["shots", "intent", "job"],
)
def test_a_slot_beyond_what_was_admitted_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    async def scenario() -> list[ReservationRefused]:
        job = await admitted_job(await new_town(tmp_path))
        await job.request(**change)
        await job.run()
        assert list(job.town.fleet[TRAP].ledger.chunks()) == []
        return await job.town.events(ReservationRefused)

    assert [refused.reason for refused in asyncio.run(scenario())] == [reason]


def test_a_slot_that_nobody_uses_expires_and_is_free_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        (granted,) = await job.town.events(ReservationGranted)
        await job.run()
        (expired,) = await job.town.events(ReservationExpired)
        assert expired.reservation_id == SLOT
        assert job.town.clock.now_us() >= granted.expires_us
        held = job.town.fleet[TRAP].ledger.reservation(granted.token_digest)
        assert held is not None
        assert held.released_us is not None

    asyncio.run(scenario())


def test_a_slot_given_back_is_free_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        job = await placed_job(await new_town(tmp_path))
        (granted,) = await job.town.events(ReservationGranted)
        released = ReservationReleased(job_id="bell-1", reservation_id=SLOT, device=TRAP, reason="job_ended")
        await job.town.say("stage:scheduler", released)
        await job.run(hours=0)
        held = job.town.fleet[TRAP].ledger.reservation(granted.token_digest)
        assert held is not None
        assert held.released_us == job.town.clock.now_us()
        await job.run()
        assert await job.town.events(ReservationExpired) == []

    asyncio.run(scenario())


def test_on_the_wall_an_agent_keeps_its_snapshot_fresh_by_itself(tmp_path: Path) -> None:
    async def scenario() -> tuple[int | None, int | None]:
        town = await new_town(tmp_path)
        on_the_wall, virtual = town.device(waits=False), town.device(waits=True)
        await town.run(on_the_wall)
        await town.run(virtual)
        return on_the_wall.next_due_us(), virtual.next_due_us()

    assert asyncio.run(scenario()) == (EPOCH_US + 4 * HOUR_US, None)
