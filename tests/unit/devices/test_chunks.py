"""How shots are cut into chunks and ordered."""

from hypothesis import given
from hypothesis import strategies as st

from agents.devices.chunks import CHUNK_SHOTS_MIN, STOPS_MIN, plan_chunks

SHOTS = st.lists(st.integers(1, 100_000), min_size=1, max_size=12)


@given(SHOTS, st.integers(1_000, 20_000))
def test_the_chunks_of_a_circuit_add_up_to_its_shots(shots: list[int], shots_max: int) -> None:
    chunks = plan_chunks(shots, shots_max)
    assert [sum(chunk.shots for chunk in chunks if chunk.circuit == place) for place in range(len(shots))] == shots


@given(SHOTS, st.integers(1_000, 20_000))
def test_no_chunk_is_empty_or_above_what_the_device_takes(shots: list[int], shots_max: int) -> None:
    assert all(0 < chunk.shots <= shots_max for chunk in plan_chunks(shots, shots_max))


@given(SHOTS, st.integers(1_000, 20_000))
def test_the_chunks_of_a_circuit_run_in_their_order(shots: list[int], shots_max: int) -> None:
    chunks = plan_chunks(shots, shots_max)
    for place in range(len(shots)):
        numbers = [chunk.chunk for chunk in chunks if chunk.circuit == place]
        assert numbers == list(range(len(numbers)))


def test_a_lone_circuit_can_be_stopped_between_chunks() -> None:
    assert len(plan_chunks([8_192], 20_000)) == STOPS_MIN


def test_few_shots_are_not_cut_finer_than_is_worth_loading() -> None:
    assert [chunk.shots for chunk in plan_chunks([2 * CHUNK_SHOTS_MIN], 20_000)] == [CHUNK_SHOTS_MIN] * 2


def test_many_circuits_that_need_no_cutting_run_in_the_order_asked() -> None:
    assert [chunk.circuit for chunk in plan_chunks([1_000] * 10, 20_000)] == list(range(10))


def test_drift_hits_all_circuits_alike() -> None:
    chunks = plan_chunks([60_000, 20_000, 30_000], 10_000)
    times = [[at for at, chunk in enumerate(chunks) if chunk.circuit == place] for place in range(3)]
    means = [sum(each) / len(each) for each in times]
    assert max(means) - min(means) <= 1
