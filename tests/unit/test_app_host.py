"""The host of workers on Kafka: what it tells Prometheus, and when its watchdog would have it leave."""

from streams.app.metrics import Figures, exposition
from streams.app.watchdog import Watchdog


def test_metrics_name_stage_and_partition_in_each_line() -> None:
    figures = Figures("policy", 3, 12, 100, 5.5, 40, {"seal_broken": 2}, 0.25, 1_800_000_000.5, 0.75)
    lines = exposition([figures]).splitlines()
    assert 'qpubus_worker_lag_records{stage="policy",partition="3"} 12' in lines
    assert 'qpubus_worker_last_progress_timestamp_seconds{stage="policy",partition="3"} 1800000000.5' in lines
    assert 'qpubus_worker_refused_records_total{stage="policy",partition="3",reason="seal_broken"} 2' in lines
    named = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert named == {line.partition("{")[0] for line in lines if not line.startswith("#")}


def test_a_desk_that_reads_nothing_while_records_wait_makes_the_process_leave() -> None:
    watchdog = Watchdog(patience_s=60)
    for at_s in range(0, 70, 5):
        watchdog.look("policy/3", read=100, lag=7, at_s=at_s)
        watchdog.told(at_s)
    assert "policy/3 has read nothing for 65 s while 7 records wait" in watchdog.why_leave(65)


def test_a_desk_for_which_nothing_waits_may_rest() -> None:
    watchdog = Watchdog(patience_s=60)
    for at_s in range(0, 600, 5):
        watchdog.look("policy/3", read=100, lag=0, at_s=at_s)
        watchdog.told(at_s)
    assert watchdog.why_leave(600) == ""


def test_a_desk_that_reads_slowly_may_stay() -> None:
    watchdog = Watchdog(patience_s=60)
    for at_s in range(0, 600, 30):
        watchdog.look("policy/3", read=at_s, lag=1_000 + at_s, at_s=at_s)
        watchdog.told(at_s)
    assert watchdog.why_leave(590) == ""


def test_a_desk_that_was_given_up_is_minded_no_more() -> None:
    watchdog = Watchdog(patience_s=60)
    watchdog.look("policy/3", read=1, lag=5, at_s=0)
    watchdog.forget(set())
    watchdog.told(100)
    assert watchdog.why_leave(100) == ""


def test_an_event_loop_that_stands_still_makes_the_process_leave() -> None:
    watchdog = Watchdog(patience_s=60)
    watchdog.told(0)
    assert "nothing has moved" in watchdog.why_leave(61)
