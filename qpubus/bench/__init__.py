"""Figures of speed, each against a reference measured in the same run: names come in, figures go out."""

import importlib
import os
import tempfile
from collections.abc import Iterable
from typing import Any

MODULES = {
    "log.append_sealed": "log_append",
    "log.append_sealed_by_8": "log_append",
    "log.append_sealed_typed": "log_append",
    "log.append_sealed_vs_eventsourcing": "log_append",
    "audit.verify": "audit_verify",
    "audit.verify_2_processes": "audit_long",
    "audit.memory": "audit_long",
    "projection.rebuild": "projection_rebuild",
    "sealer.overhead": "sealer_overhead",
    "bundle.export": "bundle_export",
    "policy.decide": "policy_decisions",
    "policy.what_if": "policy_decisions",
    "kafka.policy_stage_vs_faust": "kafka_policy_stage",
    "kafka.policy_stage_vs_quixstreams": "kafka_policy_stage",
    "kafka.policy_stage_full": "kafka_policy_stage",
    "kafka.decision_latency": "kafka_latency",
    "kafka.decision_latency_p99": "kafka_latency",
    "kafka.fail_over": "kafka_fail_over",
    "kafka.hand_over": "kafka_fail_over",
    "kafka.start": "kafka_start",
    "kafka.produce_sealed": "kafka_produce",
    "kafka.rebuild": "kafka_rebuild",
    "gateway.declare": "gateway_declare",
    "demo.wall": "main_job",
    "demo.memory": "main_job",
}
"""Figure → the module of this package that measures it, by its `measure`. Each drags in its reference."""


class BenchUnknown(ValueError):
    """No figure has this name."""


def run(names: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The figures of these names, or all of them: `name`, `value`, `unit`, `reference`, `reference_value`, `ratio`.

    With a figure come those that only its module knows of, such as `audit.verify_10` with `audit.verify`.
    """
    wanted = tuple(names) or tuple(MODULES)
    for name in wanted:
        if name not in MODULES:
            raise BenchUnknown(f"there is no figure {name!r}; there are: {', '.join(MODULES)}")
    figures = []
    before = os.environ.get("XDG_STATE_HOME")
    with tempfile.TemporaryDirectory(prefix="qpubus-bench-") as state:
        os.environ["XDG_STATE_HOME"] = state  # nobody needs to remember the logs that are made here
        try:
            for module in dict.fromkeys(MODULES[name] for name in wanted):
                figures += importlib.import_module(f"{__name__}.{module}").measure()
        finally:
            del os.environ["XDG_STATE_HOME"]
            if before is not None:
                os.environ["XDG_STATE_HOME"] = before
    return [figure for figure in figures if figure["name"] in wanted or figure["name"] not in MODULES]
