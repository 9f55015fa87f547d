"""Programs in their enclosure: what they get, what they cannot do, and what is told when they fail."""

import asyncio
import tempfile
import time
from pathlib import Path

import orjson
import pytest

from agents.enclosure import Answer, Enclosure, Limits, ProgramFailed

SMALL = Enclosure(Limits(wall_s=2.0, cpu_s=1, memory_bytes=512 << 20, file_bytes=100_000))


def run(program: str, document: object = None, enclosure: Enclosure = SMALL) -> Answer:
    return asyncio.run(enclosure.run(program.encode(), orjson.dumps(document)))


def failure(program: str, enclosure: Enclosure = SMALL) -> ProgramFailed:
    with pytest.raises(ProgramFailed) as caught:
        run(program, enclosure=enclosure)
    return caught.value


def pid_in(directory: Path) -> int:
    """What a program wrote into its file `pid`, as soon as it has."""
    while not (pids := [path.read_text() for path in directory.glob("*/pid")]) or not pids[0]:
        time.sleep(0.02)
    return int(pids[0])


def is_running(pid: int) -> bool:
    """Whether a process exists and is no mere entry that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_reads_its_document_and_answers_with_another() -> None:
    doubled = "import json, sys; json.dump({'twice': 2 * json.load(sys.stdin)['x']}, sys.stdout)"
    assert run(doubled, {"x": 21}).document == {"twice": 42}


def test_a_program_finds_none_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPUBUS_SECRET", "hunter2")
    seen = run("import json, os; print(json.dumps(dict(os.environ)))").document
    assert set(seen) <= {"LANG", "HOME", "TMPDIR", "LC_CTYPE"} | {
        name for name in seen if name.endswith("_NUM_THREADS")
    }


def test_a_program_starts_in_an_empty_directory_that_is_gone_afterwards() -> None:
    seen = run("import json, os; print(json.dumps({'in': os.getcwd(), 'sees': os.listdir()}))").document
    assert seen["sees"] == ["program.py"]
    assert not Path(seen["in"]).exists()


def test_a_program_cannot_import_our_code_from_where_we_run() -> None:
    assert failure("import agents").reason == "program_failed"


@pytest.mark.skipif("network" not in SMALL.given_up, reason="this kernel lets no process leave the network")
def test_a_program_has_no_network() -> None:
    looped = "import json, socket; print(json.dumps({'interfaces': [name for _, name in socket.if_nameindex()]}))"
    assert run(looped).document == {"interfaces": ["lo"]}
    reached = failure("import socket; socket.create_connection(('127.0.0.1', 1), timeout=1)")
    assert "Network is unreachable" in str(reached)


@pytest.mark.skipif("files" not in SMALL.given_up, reason="this kernel has no Landlock")
def test_a_program_reads_no_file_of_ours(tmp_path: Path) -> None:
    secret = tmp_path / "root.pem"
    secret.write_text("key")
    assert str(failure(f"open({str(secret)!r}).read()")).startswith("PermissionError")
    assert str(failure(f"import os; os.listdir({str(tmp_path)!r})")).startswith("PermissionError")
    assert str(failure(f"open({str(tmp_path / 'new')!r}, 'w')")).startswith("PermissionError")


def test_a_program_writes_and_reads_in_its_own_directory() -> None:
    notes = "open('notes', 'w').write('4'); print('{\"read\": ' + open('notes').read() + '}')"
    assert run(notes).document == {"read": 4}


def test_a_program_may_use_numpy() -> None:
    summed = "import json, numpy; print(json.dumps({'sum': float(numpy.linalg.norm(numpy.ones(4)))}))"
    assert run(summed, enclosure=Enclosure()).document == {"sum": 2.0}


@pytest.mark.parametrize("part", ["network", "files"])
def test_what_holds_is_said(part: str) -> None:
    assert (f"{part} not cut off" in SMALL.description) == (part not in SMALL.given_up)


def test_a_program_that_sleeps_too_long_is_ended() -> None:
    started = time.monotonic()
    assert failure("import time; time.sleep(30)", Enclosure(Limits(wall_s=0.5))).reason == "program_timeout"
    assert time.monotonic() - started < 5


def test_a_program_that_computes_too_long_is_ended() -> None:
    assert failure("while True: pass", Enclosure(Limits(wall_s=20, cpu_s=1))).reason == "program_timeout"


def test_a_program_that_wants_too_much_memory_is_told_so() -> None:
    assert failure("bytearray(1 << 30)").reason == "program_memory"


def test_a_program_that_writes_too_much_is_refused() -> None:
    assert failure("print('x' * 200_000)").reason == "output_oversized"


@pytest.mark.parametrize("output", ["print('no json')", "print('[1]')", "pass", "print('{\"a\": NaN}')"])
def test_an_output_that_is_no_json_object_is_refused(output: str) -> None:
    assert failure(output).reason == "output_malformed"


def test_what_a_program_started_does_not_outlive_its_step() -> None:
    forks = "import json, os, time\nchild = os.fork()\nchild or time.sleep(60)\nprint(json.dumps({'child': child}))"
    child = run(forks, enclosure=Enclosure(Limits(wall_s=5.0, processes=100_000))).document["child"]
    for _ in range(100):
        if not is_running(child):
            return
        time.sleep(0.02)
    pytest.fail("what the program had started runs on")


def test_a_failure_is_told_in_the_programs_last_words() -> None:
    assert str(failure("raise SystemExit('two qubits are needed')")) == "two qubits are needed"


def test_a_failure_tells_no_path_and_no_trace() -> None:
    message = str(failure("open('/etc/never/there.txt')"))
    assert message == "FileNotFoundError: [Errno 2] No such file or directory: '…'"


def test_an_abandoned_run_ends_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def abandon() -> int:
        program = b"import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
        task = asyncio.create_task(Enclosure(Limits(wall_s=60)).run(program, b"{}"))
        pid = await asyncio.to_thread(pid_in, tmp_path)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    assert not is_running(asyncio.run(abandon()))
