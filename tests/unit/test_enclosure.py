"""Programs in their enclosure: what they get, what they cannot do, and what is told when they fail."""

import asyncio
import os
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


@pytest.mark.skipif(not SMALL.has_no_network, reason="this kernel lets no unprivileged process leave the network")
def test_a_program_has_no_network() -> None:
    looped = "import json, socket; print(json.dumps({'interfaces': [name for _, name in socket.if_nameindex()]}))"
    assert run(looped).document == {"interfaces": ["lo"]}
    reached = failure("import socket; socket.create_connection(('127.0.0.1', 1), timeout=1)")
    assert "Network is unreachable" in str(reached)


def test_what_holds_is_said() -> None:
    assert ("no network" in SMALL.description) == SMALL.has_no_network


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


def test_a_program_that_is_left_alone_does_not_outlive_its_step(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    forks = f"import os, time\nif os.fork() == 0:\n    time.sleep(1)\n    open({str(mark)!r}, 'w')\nprint('{{}}')"
    run(forks, enclosure=Enclosure(Limits(wall_s=5.0, processes=100_000)))
    time.sleep(1.5)
    assert not mark.exists()


def test_a_failure_is_told_in_the_programs_last_words() -> None:
    assert str(failure("raise SystemExit('two qubits are needed')")) == "two qubits are needed"


def test_a_failure_tells_no_path_and_no_trace() -> None:
    message = str(failure("open('/etc/never/there.txt')"))
    assert message == "FileNotFoundError: [Errno 2] No such file or directory: '…'"


def test_an_abandoned_run_ends_the_program(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    async def abandon() -> None:
        program = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
        task = asyncio.create_task(Enclosure(Limits(wall_s=60)).run(program.encode(), b"{}"))
        while not pid_file.exists() or not pid_file.read_text():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    started = time.monotonic()
    asyncio.run(abandon())
    assert time.monotonic() - started < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
