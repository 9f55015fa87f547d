"""The first hour of a user: init, up, submit, approve, deny, withdraw, result, with the bus as a process of its own."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.commands import QPUBUS, Done, environment, qpubus, running_bus

WAIT_S = 60.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory as `init` leaves it, with a bus running on it."""
    directory = tmp_path_factory.mktemp("site") / "data"
    assert qpubus("init", "--data", directory).code == 0
    with running_bus(directory):
        until = time.monotonic() + WAIT_S
        while len(qpubus("devices", "--json", "--data", directory).json) < 4:
            assert time.monotonic() < until, "the devices did not calibrate"
            time.sleep(0.1)
        yield directory


def example(data: Path, job_id: str, **changes: Any) -> Path:
    """The example's manifest under another job id, beside its programs."""
    manifest = orjson.loads((data / "examples" / "h2-vqe.json").read_bytes()) | {"job_id": job_id} | changes
    path = data / "examples" / f"{job_id}.json"
    path.write_bytes(orjson.dumps(manifest))
    return path


def submitted(data: Path, job_id: str) -> Path:
    """The manifest of a job that was declared and waits for a person."""
    path = example(data, job_id)
    assert qpubus("submit", path, "--data", data).code == 0
    state_when(data, job_id, "awaiting_approval")
    return path


def state_when(data: Path, job_id: str, state: str) -> dict[str, Any]:
    """The job as soon as it is in that state."""
    until = time.monotonic() + WAIT_S
    while True:
        job: dict[str, Any] = qpubus("job", job_id, "--json", "--data", data).json
        if job["state"] == state:
            return job
        assert time.monotonic() < until, f"{job_id} is {job['state']}, not {state}"
        time.sleep(0.05)


def answer(data: Path, word: str, job_id: str, *more: str, key: str = "approver", typed: str = "") -> Done:
    return qpubus(word, job_id, "--key", data / "keys" / f"{key}.pem", "--data", data, *more, answer=typed)


def test_an_approved_job_runs_to_its_result(data: Path) -> None:
    submitted(data, "first")
    assert [job["job_id"] for job in qpubus("approvals", "--json", "--data", data).json] == ["first"]

    signed = answer(data, "approve", "first", "--yes")
    waited = qpubus("submit", data / "examples" / "first.json", "--wait", "--data", data)

    assert signed.code == 0
    assert waited.code == 0
    assert "says yes" in waited.out
    result = qpubus("result", "first", "-o", "json", "--data", data).json
    assert result["converged"] is True
    assert {each["name"] for each in result["observables"]} == {"energy_hartree", "energy_raw_hartree"}
    spent = qpubus("job", "first", "--json", "--data", data).json["cost_microusd"]
    assert 0 < spent <= 600_000_000
    assert qpubus("kpis", "--json", "--data", data).json["turnaround_s"]["n"] == 1
    told_as_if_waited_out(data, "first")


def told_as_if_waited_out(data: Path, job_id: str) -> None:
    """The device time of this bus is emulated and was not waited out: that is said, and no time pretends otherwise."""
    job = qpubus("job", job_id, "--json", "--data", data).json
    turnaround = qpubus("kpis", "--json", "--data", data).json["turnaround_s"]
    device_s = job["result"]["device_time_us"] / 1e6

    assert job["device_time_waited_out"] is False
    assert "The device time is emulated and was not waited out." in qpubus("job", job_id, "--data", data).out
    assert turnaround["parts"]["execution_s"]["value"] >= device_s
    assert turnaround["value"] >= device_s
    assert 0 < turnaround["parts"]["emulated_s"]["value"] < turnaround["value"]


def test_what_a_person_signs_is_shown_first(data: Path) -> None:
    submitted(data, "shown")

    seen = answer(data, "approve", "shown", "--show-programs", typed="n\n")

    for shown in (
        "VQE_poC:energy_minimization",
        "rxx(theta) q[0], q[1];",
        "python:step_vqe.py",
        "import ",
        "$600.00",
        "1,500,000",
        "price-asks-human",
        "a person must grant it",
    ):
        assert shown in seen.out
    assert (seen.code, seen.err) == (1, "error: nothing was signed\n")
    assert qpubus("job", "shown", "--json", "--data", data).json["state"] == "awaiting_approval"


def test_a_denial_reaches_the_agent_with_its_reason(data: Path) -> None:
    submitted(data, "denied")

    said = answer(data, "deny", "denied", "--why", "too dear this month", "--yes")
    job = state_when(data, "denied", "refused")

    assert said.code == 0
    assert (job["reason"], job["message"]) == ("denied", "too dear this month")
    assert job["approval"]["approver"] == "approver:alice"


def test_a_denied_job_has_no_result(data: Path) -> None:
    submitted(data, "fruitless")
    answer(data, "deny", "fruitless", "--why", "no", "--yes")

    refused = qpubus("result", "fruitless", "--data", data)

    assert refused.code == 1
    assert "it is refused (denied: no)" in refused.err


def test_an_agent_may_take_a_waiting_job_back(data: Path) -> None:
    submitted(data, "taken-back")

    assert qpubus("withdraw", "taken-back", "--data", data).code == 0

    assert state_when(data, "taken-back", "refused")["reason"] == "withdrawn"


def test_a_person_s_key_is_needed_to_approve(data: Path) -> None:
    submitted(data, "by-agent")

    refused = answer(data, "approve", "by-agent", "--yes", key="agent")

    assert refused.code == 1
    assert "role_forbidden" in refused.err
    assert qpubus("job", "by-agent", "--json", "--data", data).json["state"] == "awaiting_approval"


def test_an_agent_s_key_is_needed_to_submit(data: Path) -> None:
    path = example(data, "by-approver")

    refused = qpubus("submit", path, "--key", data / "keys" / "approver.pem", "--data", data)

    assert refused.code == 1
    assert "role_forbidden" in refused.err


def test_the_same_job_again_gives_the_same_receipt(data: Path) -> None:
    path = submitted(data, "twice")

    receipts = [qpubus("submit", path, "--json", "--data", data).json for _ in range(2)]

    assert receipts[0] == receipts[1]


def test_the_same_id_for_another_job_is_refused(data: Path) -> None:
    submitted(data, "repeated")

    refused = qpubus("submit", example(data, "repeated", purpose="another"), "--data", data)

    assert refused.code == 1
    assert "(job_repeated)" in refused.err


def test_a_dry_run_says_what_would_happen_and_declares_nothing(data: Path) -> None:
    before = decided(data)

    trial = qpubus("submit", example(data, "dry"), "--dry-run", "--json", "--data", data)

    assert trial.code == 0
    assert trial.json["verdict"] == "ask"
    assert trial.json["device"] == "onprem-iontrap-1"
    assert 0 < trial.json["price_microusd"] <= trial.json["price_ceiling_microusd"]
    assert trial.json["standard_errors"] == {"target_standard_error_hartree": 0.0005}
    assert decided(data) == before


def decided(data: Path) -> list[str]:
    """Every event by which something is wanted, allowed or reserved."""
    events = [orjson.loads(line) for line in qpubus("events", "--json", "--data", data).out.splitlines()]
    return [each["digest"] for each in events if each["topic"] in {"intents", "approvals", "reservations"}]


def test_a_dry_run_of_what_would_be_refused_exits_1(data: Path) -> None:
    dear = example(data, "dear", budget={"cost_microusd": 11_000_000_000, "shots": 1_500_000})

    trial = qpubus("quote", dear, "--json", "--data", data)

    assert (trial.code, trial.json["verdict"]) == (1, "refuse")


def test_a_program_that_is_nowhere_is_named(data: Path) -> None:
    missing = example(data, "missing", artifacts=artifacts(data) | {"fit_results.py": "0" * 64})
    missing.rename(elsewhere := data / "missing.json")

    refused = qpubus("submit", elsewhere, "--data", data)

    assert refused.code == 1
    assert "artifacts.fit_results.py" in refused.err
    assert "artifact_missing" in refused.err


def artifacts(data: Path) -> dict[str, str]:
    digests: dict[str, str] = orjson.loads((data / "examples" / "h2-vqe.json").read_bytes())["artifacts"]
    return digests


def test_a_circuit_that_does_not_parse_is_refused_with_its_place(data: Path) -> None:
    manifest = orjson.loads((data / "examples" / "h2-vqe.json").read_bytes())
    manifest["quantum"]["circuit"] = "bm90IHFhc20="

    refused = qpubus("submit", example(data, "no-circuit", quantum=manifest["quantum"]), "--data", data)

    assert refused.code == 1
    assert "quantum.circuit" in refused.err


def test_only_one_bus_may_run_on_a_directory(data: Path) -> None:
    second = qpubus("up", "--data", data)

    assert second.code == 1
    assert "only one process may" in second.err


def test_the_log_of_a_running_bus_is_sound(data: Path) -> None:
    audit = qpubus("audit", "verify", "--json", "--data", data)

    assert (audit.code, audit.json["verdict"]) == (0, "sound")


def test_events_of_one_job_and_type_can_be_picked(data: Path) -> None:
    submitted(data, "picked")

    picked = qpubus("events", "--job", "picked", "--type", "ApprovalRequested", "--json", "--data", data)

    events = [orjson.loads(line) for line in picked.out.splitlines()]
    assert [(each["type"], each["event"]["job_id"]) for each in events] == [("ApprovalRequested", "picked")]


def test_whoever_follows_events_sees_them_come(data: Path) -> None:
    command = [*QPUBUS, "events", "--follow", "--json", "--type", "IntentDeclared", "--data", str(data)]
    with subprocess.Popen(command, env=environment(), text=True, stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        already = len(qpubus("jobs", "--json", "--data", data).json)
        for _ in range(already):
            following.stdout.readline()

        submitted(data, "followed")

        assert orjson.loads(following.stdout.readline())["event"]["job_id"] == "followed"
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 130


def test_a_bus_that_is_interrupted_ends_in_peace(tmp_path: Path) -> None:
    assert qpubus("init", "--data", tmp_path / "data").code == 0

    with running_bus(tmp_path / "data") as bus:
        bus.send_signal(signal.SIGINT)
        out, err = bus.communicate(timeout=30)

    assert (bus.returncode, err) == (0, "")
    assert out.endswith("The bus has stopped. All that was said is on the log.\n")
    assert not (tmp_path / "data" / "socket").exists()
