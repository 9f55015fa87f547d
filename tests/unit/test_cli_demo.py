"""`demo` as a command: one object in a pipe, a directory that can be audited, and what is asked of many seeds."""

from pathlib import Path

import pytest

from qpubus.seeds import Energy, SeedReport
from tests.support.commands import Done, qpubus


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return qpubus("demo", "--json", "--data", tmp_path_factory.mktemp("demo") / "data")


def test_the_demo_prints_exactly_one_object(shown: Done) -> None:
    assert (shown.code, shown.err, shown.out.count("\n")) == (0, "", 1)
    assert {name: set(part) for name, part in shown.json.items() if name != "data"} == {
        "job": {"job_id", "state", "initiator", "device", "snapshot", "shots_total", "iterations", "cost_usd"},
        "result": {
            "molecule",
            "energy_hartree",
            "energy_raw_hartree",
            "standard_error_hartree",
            "exact_hartree",
            "error_millihartree",
        },
        "approval": {"approver", "proof_type", "assurance", "intent_digest"},
        "kpis": {
            "turnaround_s",
            "fidelity_per_shot",
            "cost_per_converged_result_usd",
            "reproducibility_index",
            "agent_decision_accuracy",
        },
        "audit": {"verdict", "events", "signatures", "jobs"},
    }


def test_the_demo_s_approver_is_marked_as_a_demo(shown: Done) -> None:
    assert shown.json["approval"]["assurance"] == "demo"


def test_the_demo_leaves_a_log_that_anyone_can_audit(shown: Done) -> None:
    audit = qpubus("audit", "verify", "--json", "--data", shown.json["data"])

    assert audit.code == 0
    assert {name: audit.json[name] for name in shown.json["audit"]} == shown.json["audit"]


def test_every_decision_of_the_demo_is_decided_again_to_the_same_bytes(shown: Done) -> None:
    again = qpubus("audit", "redecide", "--json", "--data", shown.json["data"])

    assert (again.code, again.json["same"]) == (0, True)
    assert all(again.json["decisions"][f"stage:{stage}"] > 0 for stage in ("policy", "scheduler", "orchestrator"))


def test_the_story_of_the_demo_can_be_explained(shown: Done) -> None:
    explained = qpubus("audit", "explain", shown.json["job"]["job_id"], "--data", shown.json["data"])

    assert explained.code == 0
    assert "approver:demo says yes" in explained.out
    assert "signatures checked: all hold" in explained.out


def test_no_bus_runs_on_a_demo(shown: Done) -> None:
    refused = qpubus("up", "--data", Path(shown.json["data"]))

    assert refused.code == 1
    assert "was made by the demo" in refused.err


def energies(*errors_mha: float, raw_mha: float = 12.0) -> list[Energy]:
    """Energies with a standard error of 0.5 mHa each."""
    return [Energy(seed, error, 0.5, raw_mha) for seed, error in enumerate(errors_mha)]


@pytest.mark.parametrize(
    ("found", "broken"),
    [
        (energies(*[0.3, -0.3] * 9, 1.1, -0.2), []),
        (energies(*[0.45] * 20), ["mean error in mHa"]),
        (energies(*[0.1, -0.1] * 9, 1.7, -1.7), ["seeds within 1.6 mHa"]),
        (energies(*[1.1, -1.1] * 3, *[0.1, -0.1] * 7), ["seeds whose 95 % interval holds the exact value"]),
        (energies(*[0.1, -0.1] * 10, raw_mha=0.5), ["mean error before mitigation in mHa"]),
    ],
    ids=["sound", "biased", "far-off", "overconfident", "noiseless"],
)
def test_seeds_are_judged_by_what_must_hold(found: list[Energy], broken: list[str]) -> None:
    assert [each.name for each in SeedReport(found).checks() if not each.holds] == broken


def test_over_a_hundred_seeds_intervals_may_be_too_wide_as_well() -> None:
    assert "seeds whose 95 % interval holds the exact value" in [
        each.name for each in SeedReport(energies(*[0.1, -0.1] * 50)).checks() if not each.holds
    ]
