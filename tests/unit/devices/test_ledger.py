import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.devices.ledger import ChunkOrder, DeviceLedger, Reservation, RunRefused

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
TOKEN = b"a secret of the job"


def digest_of(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()


def slot(token: bytes = TOKEN, start_us: int = HOUR_US, shots_max: int = 1_000) -> Reservation:
    return Reservation(digest_of(token), "job-1", shots_max, start_us, start_us + HOUR_US, start_us + HOUR_US)


def order(chunk_id: str = "chunk-1", shots: int = 100, token: bytes = TOKEN, seed: int = 2**64 - 1) -> ChunkOrder:
    return ChunkOrder(token, "run-1", chunk_id, "c" * 64, shots, seed)


def zeros(_started_us: int) -> dict[str, int]:
    return {"00": 100}


def never(_started_us: int) -> dict[str, int]:
    raise AssertionError("the device was run")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[DeviceLedger]:
    opened = DeviceLedger(tmp_path / "device.sqlite")
    yield opened
    opened.close()


def test_a_chunk_asked_again_gives_the_stored_outcome_and_runs_nothing(ledger: DeviceLedger) -> None:
    ledger.reserve(slot(), 0)
    first = ledger.run_once(order(), SECOND_US, HOUR_US, zeros)
    assert ledger.run_once(order(), SECOND_US, HOUR_US + 5, never) == first
    assert first.seed == 2**64 - 1


def test_a_chunk_run_before_a_crash_is_there_after_it(tmp_path: Path) -> None:
    before = DeviceLedger(tmp_path / "device.sqlite")
    before.reserve(slot(), 0)
    first = before.run_once(order(), SECOND_US, HOUR_US, zeros)
    # No close: the process is gone.
    after = DeviceLedger(tmp_path / "device.sqlite")
    assert after.run_once(order(), SECOND_US, HOUR_US, never) == first
    before.close()
    after.close()


def test_a_run_that_fails_leaves_nothing_behind(ledger: DeviceLedger) -> None:
    ledger.reserve(slot(), 0)
    with pytest.raises(AssertionError):
        ledger.run_once(order(), SECOND_US, HOUR_US, never)
    assert ledger.chunk("chunk-1") is None
    assert ledger.run_once(order(), SECOND_US, HOUR_US, zeros).started_us == HOUR_US


def test_an_outcome_is_given_even_after_the_slot_has_ended(ledger: DeviceLedger) -> None:
    ledger.reserve(slot(), 0)
    first = ledger.run_once(order(), SECOND_US, HOUR_US, zeros)
    ledger.release(digest_of(TOKEN), HOUR_US + 1)
    assert ledger.run_once(order(), SECOND_US, 9 * HOUR_US, never) == first


@pytest.mark.parametrize(
    "other",
    [order(shots=99), order(seed=1), order(token=b"another")],
    ids=["shots", "seed", "token"],
)
def test_an_id_that_was_run_with_other_content_is_refused(ledger: DeviceLedger, other: ChunkOrder) -> None:
    ledger.reserve(slot(), 0)
    ledger.run_once(order(), SECOND_US, HOUR_US, zeros)
    with pytest.raises(RunRefused, match="chunk_conflict"):
        ledger.run_once(other, SECOND_US, HOUR_US, never)


@pytest.mark.parametrize(
    ("asked", "busy_us", "now_us", "reason"),
    [
        (order(token=b"guess"), SECOND_US, HOUR_US, "token_unknown"),
        (order(shots=1_001), SECOND_US, HOUR_US, "shots_exceeded"),
        (order(shots=0), SECOND_US, HOUR_US, "shots_malformed"),
        (order(shots=-5), SECOND_US, HOUR_US, "shots_malformed"),
        (order(), SECOND_US, 2 * HOUR_US, "token_expired"),
        (order(), SECOND_US, 2 * HOUR_US - 1, "slot_exhausted"),
        (order(), HOUR_US + 1, HOUR_US, "slot_exhausted"),
    ],
    ids=["no-token", "too-many-shots", "no-shots", "negative-shots", "expired", "late", "too-long"],
)
def test_a_chunk_without_a_live_reservation_for_it_is_refused(
    ledger: DeviceLedger, asked: ChunkOrder, busy_us: int, now_us: int, reason: str
) -> None:
    ledger.reserve(slot(), 0)
    with pytest.raises(RunRefused) as refused:
        ledger.run_once(asked, busy_us, now_us, never)
    assert refused.value.reason == reason


def test_shots_are_counted_over_all_chunks_of_a_token(ledger: DeviceLedger) -> None:
    ledger.reserve(slot(shots_max=250), 0)
    ledger.run_once(order("1"), SECOND_US, HOUR_US, zeros)
    ledger.run_once(order("2"), SECOND_US, HOUR_US, zeros)
    with pytest.raises(RunRefused, match="shots_exceeded"):
        ledger.run_once(order("3"), SECOND_US, HOUR_US, never)


def test_chunks_follow_one_another_on_the_device(ledger: DeviceLedger) -> None:
    ledger.reserve(slot(), 0)
    early = ledger.run_once(order("1"), 5 * SECOND_US, 0, zeros)
    second = ledger.run_once(order("2"), 5 * SECOND_US, 0, zeros)
    late = ledger.run_once(order("3"), 5 * SECOND_US, HOUR_US + 60 * SECOND_US, zeros)
    assert (early.started_us, second.started_us, late.started_us) == (HOUR_US, early.ended_us, HOUR_US + 60 * SECOND_US)


def test_a_released_token_runs_nothing(ledger: DeviceLedger) -> None:
    ledger.reserve(slot(), 0)
    ledger.release(digest_of(TOKEN), HOUR_US)
    with pytest.raises(RunRefused, match="token_released"):
        ledger.run_once(order(), SECOND_US, HOUR_US, never)


@pytest.mark.parametrize("shift_us", [-HOUR_US + 1, 0, HOUR_US - 1], ids=["tail", "same", "head"])
def test_a_slot_is_never_booked_twice(ledger: DeviceLedger, shift_us: int) -> None:
    ledger.reserve(slot(start_us=3 * HOUR_US), 0)
    with pytest.raises(RunRefused, match="slot_taken"):
        ledger.reserve(slot(b"other", 3 * HOUR_US + shift_us), 0)


def test_slots_may_touch(ledger: DeviceLedger) -> None:
    ledger.reserve(slot(start_us=HOUR_US), 0)
    ledger.reserve(slot(b"other", 2 * HOUR_US), 0)
    assert ledger.first_free_start_us(HOUR_US, 0, 0) == 0
    assert ledger.first_free_start_us(HOUR_US + 1, 0, 0) == 3 * HOUR_US


def test_the_same_reservation_asked_again_is_the_same_reservation(ledger: DeviceLedger) -> None:
    assert ledger.reserve(slot(), 0) == ledger.reserve(slot(), 10)
    with pytest.raises(RunRefused, match="token_conflict"):
        ledger.reserve(slot(start_us=5 * HOUR_US), 0)


def test_a_slot_in_the_past_or_without_length_is_refused(ledger: DeviceLedger) -> None:
    for wanted in (slot(), Reservation("d" * 64, "job", 1, 5 * HOUR_US, 5 * HOUR_US, 6 * HOUR_US)):
        with pytest.raises(RunRefused, match="slot_malformed"):
            ledger.reserve(wanted, 2 * HOUR_US)


def test_release_and_expiry_free_what_was_not_used(ledger: DeviceLedger) -> None:
    ledger.reserve(slot(), 0)
    ran = ledger.run_once(order(), 60 * SECOND_US, HOUR_US, zeros)
    ledger.release(digest_of(TOKEN), HOUR_US + SECOND_US)
    assert ledger.first_free_start_us(HOUR_US, HOUR_US, HOUR_US + SECOND_US) == ran.ended_us
    idle = Reservation("e" * 64, "idle", 1, 5 * HOUR_US, 7 * HOUR_US, 6 * HOUR_US)
    ledger.reserve(idle, HOUR_US)
    assert ledger.first_free_start_us(HOUR_US, 6 * HOUR_US, 6 * HOUR_US - 1) == 7 * HOUR_US
    assert ledger.first_free_start_us(HOUR_US, 6 * HOUR_US, 6 * HOUR_US) == 6 * HOUR_US


def test_a_token_is_kept_as_its_digest_only(ledger: DeviceLedger, tmp_path: Path) -> None:
    ledger.reserve(slot(), 0)
    ledger.run_once(order(), SECOND_US, HOUR_US, zeros)
    assert all(TOKEN not in file.read_bytes() for file in tmp_path.iterdir())
