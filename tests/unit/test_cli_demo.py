"""`demo` as a command: one object in a pipe, a directory that can be audited, and what is asked of many seeds."""

import itertools
import shutil
from pathlib import Path

import orjson
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
    # The guard has nothing to stop here; tests/simulation/test_guarded.py recomputes runs that it does stop.
    assert again.json["decisions"].get("stage:guard", 0) == 0


def test_the_story_of_the_demo_can_be_explained(shown: Done) -> None:
    explained = qpubus("audit", "explain", shown.json["job"]["job_id"], "--data", shown.json["data"])

    assert explained.code == 0
    assert "approver:demo says yes" in explained.out
    assert "signatures checked: all hold" in explained.out


def test_the_demo_waits_out_the_time_of_its_devices(shown: Done) -> None:
    turnaround = qpubus("kpis", "--json", "--data", shown.json["data"]).json["turnaround_s"]
    job = qpubus("job", shown.json["job"]["job_id"], "--json", "--data", shown.json["data"]).json

    assert turnaround["parts"]["emulated_s"]["value"] == 0
    assert job["device_time_waited_out"] is True


def test_of_a_single_demo_no_interval_between_jobs_is_told(shown: Done) -> None:
    kpi = shown.json["kpis"]["turnaround_s"]

    assert set(kpi) == {"value", "n", "low", "high"}
    assert kpi["value"] > 0
    assert (kpi["n"], kpi["low"], kpi["high"]) == (1, None, None)


def test_who_says_no_ends_the_job_as_refused(tmp_path: Path) -> None:
    said = qpubus("demo", "--approve", "--data", tmp_path / "data", answer="n\n")
    job = qpubus("job", "h2-vqe-1", "--json", "--data", tmp_path / "data").json
    denials = qpubus("events", "--type", "ApprovalDenied", "--json", "--data", tmp_path / "data").out.splitlines()

    assert (said.code, said.err) == (1, "")
    assert "h2-vqe-1: refused" in said.out
    assert (job["state"], job["reason"], job["approval"]["approver"]) == ("refused", "denied", "approver:demo")
    assert [orjson.loads(each)["event"]["approver"] for each in denials] == ["approver:demo"]
    assert qpubus("audit", "verify", "--data", tmp_path / "data").code == 0


def test_a_demo_without_a_directory_says_where_it_is_and_that_it_may_go() -> None:
    said = qpubus("demo", "--approve", answer="n\n")
    directory = Path(said.out.split(" artefacts in ", 1)[1].split(",", 1)[0])

    assert f"{directory}, which you can delete afterwards" in said.out
    assert (directory / "log.sqlite").exists()
    shutil.rmtree(directory)


def test_no_bus_runs_on_a_demo(shown: Done) -> None:
    refused = qpubus("up", "--data", Path(shown.json["data"]))

    assert refused.code == 1
    assert "was made by the demo" in refused.err


BEYOND = "mean error before mitigation beyond what snapshots predict, in mHa"
AS_NOISY = "seeds whose error before mitigation is within 30% of the predicted one"


def energies(*errors_mha: float, raw_mha: tuple[float, ...] = (11.0, 13.0)) -> list[Energy]:
    """Energies with a standard error of 0.5 mHa each, whose snapshots predict 12 mHa before mitigation."""
    raw = itertools.cycle(raw_mha)
    return [Energy(seed, error, 0.5, next(raw), 12.0) for seed, error in enumerate(errors_mha)]


@pytest.mark.parametrize(
    ("found", "broken"),
    [
        (energies(*[0.3, -0.3] * 9, 1.1, -0.2), []),
        (energies(*[0.45] * 20), ["mean error in mHa"]),
        (energies(*[0.1, -0.1] * 9, 1.7, -1.7), ["seeds within 1.6 mHa"]),
        (energies(*[1.1, -1.1] * 3, *[0.1, -0.1] * 7), ["seeds whose 95 % interval holds the exact value"]),
        (energies(*[0.1, -0.1] * 10, raw_mha=(0.5,)), [BEYOND, AS_NOISY]),
        (energies(*[0.1, -0.1] * 10, raw_mha=(24.0,)), [BEYOND, AS_NOISY]),
        (energies(*[0.1, -0.1] * 10, raw_mha=(13.1,)), [BEYOND]),
        (energies(*[0.1, -0.1] * 10, raw_mha=(8.0, 16.0)), [AS_NOISY]),
    ],
    ids=["sound", "biased", "far-off", "overconfident", "noiseless", "too noisy", "a little too noisy", "scattered"],
)
def test_seeds_are_judged_by_what_must_hold(found: list[Energy], broken: list[str]) -> None:
    assert [each.name for each in SeedReport(found).checks() if not each.holds] == broken


def test_over_a_hundred_seeds_intervals_may_be_too_wide_as_well() -> None:
    assert "seeds whose 95 % interval holds the exact value" in [
        each.name for each in SeedReport(energies(*[0.1, -0.1] * 50)).checks() if not each.holds
    ]
