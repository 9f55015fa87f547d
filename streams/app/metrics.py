"""What Prometheus scrapes: figures of desks go in, text in its exposition format (version 0.0.4) comes out."""

from collections.abc import Callable, Sequence
from math import isnan
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4"
_PREFIX = "qpubus_worker"


class Figures(NamedTuple):
    """How a desk stands."""

    stage: str
    partition: int
    lag: float
    read: int
    rate: float
    said: int
    refused: dict[str, int]
    decide_s: float
    progressed_at: float
    hand_over_s: float
    is_corrupt: bool = False


class _Metric(NamedTuple):
    name: str
    kind: str
    help: str
    value: Callable[[Figures], float]


_METRICS = (
    _Metric(
        "qpubus_log_corrupt",
        "gauge",
        "Stands still: stored bytes are not what was acknowledged.",
        lambda each: each.is_corrupt,
    ),
    _Metric(f"{_PREFIX}_lag_records", "gauge", "Records that wait to be read.", lambda each: each.lag),
    _Metric(f"{_PREFIX}_read_records_total", "counter", "Records read, refused ones too.", lambda each: each.read),
    _Metric(f"{_PREFIX}_read_records_per_second", "gauge", "Records read a second, lately.", lambda each: each.rate),
    _Metric(f"{_PREFIX}_said_events_total", "counter", "Events said.", lambda each: each.said),
    _Metric(f"{_PREFIX}_decide_seconds_total", "counter", "Time spent on deciding.", lambda each: each.decide_s),
    _Metric(
        f"{_PREFIX}_last_progress_timestamp_seconds", "gauge", "When it last read.", lambda each: each.progressed_at
    ),
    _Metric(f"{_PREFIX}_hand_over_seconds", "gauge", "What taking it over took.", lambda each: each.hand_over_s),
)
_REFUSED = f"{_PREFIX}_refused_records_total"


def exposition(desks: Sequence[Figures]) -> str:
    """The figures of all desks, each line with its stage and partition number."""
    lines = []
    for metric in _METRICS:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [f"{metric.name}{{{_labels(each)}}} {_number(metric.value(each))}" for each in desks]
    lines += [f"# HELP {_REFUSED} Records refused, by reason.", f"# TYPE {_REFUSED} counter"]
    for each in desks:
        for reason, count in sorted(each.refused.items()):
            lines.append(f'{_REFUSED}{{{_labels(each)},reason="{reason}"}} {count}')
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return "NaN" if isnan(value) else f"{value:.17g}"


def _labels(figures: Figures) -> str:
    return f'stage="{figures.stage}",partition="{figures.partition}"'
