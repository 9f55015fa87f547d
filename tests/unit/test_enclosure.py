"""Programs in their enclosure: what they get, what they cannot do, and what is told when they fail."""

import asyncio
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from agents.enclosed import WAYS
from agents.enclosure import Answer, Enclosure, Limits, ProgramFailed

SMALL = Enclosure(Limits(wall_s=2.0, cpu_s=1, memory_bytes=512 << 20, file_bytes=100_000))


def run(program: str, document: object = None, enclosure: Enclosure = SMALL) -> Answer:
    return asyncio.run(enclosure.run(program.encode(), orjson.dumps(document)))


def giving_up(ways: frozenset[str], *, trusts_programs: bool = False) -> Enclosure:
    """An enclosure on a machine whose kernel allows no other ways than these."""
    enclosure = Enclosure(SMALL.limits, trusts_programs)
    enclosure.__dict__["given_up"] = frozenset(ways)
    return enclosure


def failure(program: str, enclosure: Enclosure = SMALL) -> ProgramFailed:
    with pytest.raises(ProgramFailed) as caught:
        run(program, enclosure=enclosure)
    return caught.value


def processes_of(directory: Path) -> list[int]:
    """The processes that were started for programs in a directory of temporary files."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(directory).encode() in (path / "cmdline").read_bytes() and is_running(int(path.name)):
                found.append(int(path.name))
    return found


def begins(directory: Path) -> bool:
    """Whether a program begins within two seconds."""
    for _ in range(100):
        if processes_of(directory):
            return True
        time.sleep(0.02)
    return False


def all_end(directory: Path) -> bool:
    """Whether no process is left within two seconds."""
    for _ in range(100):
        if not processes_of(directory):
            return True
        time.sleep(0.02)
    return False


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


@pytest.mark.parametrize("part", WAYS)
def test_what_holds_is_said(part: str) -> None:
    for given_up in (SMALL.given_up | {part}, SMALL.given_up - {part}):
        lacks = any(f"{part} {how}" in giving_up(given_up).description for how in ("not cut off", "counted"))
        assert lacks == (part not in given_up)


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


FORKS = """import json, os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
time.sleep({})
print(json.dumps({{"pid": os.getpid()}}))
"""


@pytest.mark.skipif("processes" not in SMALL.given_up, reason="this kernel lets no process leave the others")
@pytest.mark.parametrize("lasts_s", [0.2, 60])
def test_what_a_program_started_does_not_outlive_its_step_in_another_session_either(
    lasts_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    forking = Enclosure(Limits(wall_s=1.0, processes=100_000))
    with suppress(ProgramFailed):
        run(FORKS.format(lasts_s), enclosure=forking)
    assert all_end(tmp_path)


@pytest.mark.skipif("signals" not in SMALL.given_up, reason="this kernel keeps no signals in")
@pytest.mark.parametrize("without", ["", "processes,space,network"])
def test_a_program_ends_no_process_but_its_own(without: str) -> None:
    ways = SMALL.given_up - set(filter(None, without.split(",")))
    with subprocess.Popen(["sleep", "30"]) as victim:
        kills = f"import os, signal; os.kill({victim.pid}, signal.SIGKILL)"
        message = str(failure(kills, giving_up(ways)))
        assert victim.poll() is None
        victim.kill()
    assert message.startswith(("ProcessLookupError", "PermissionError"))


@pytest.mark.skipif("processes" not in SMALL.given_up, reason="this kernel lets no process leave the others")
def test_a_program_sees_no_process_of_ours() -> None:
    assert run("import json, os; print(json.dumps({'parent': os.getppid()}))").document == {"parent": 1}


@pytest.mark.skipif("space" not in SMALL.given_up, reason="this kernel lets nobody mount")
@pytest.mark.parametrize(
    "fills",
    [
        "for number in range(2_000): open(str(number), 'w').close()",
        "for number in range(2_000): open(str(number), 'wb').write(bytes(90_000))",
    ],
    ids=["files", "bytes"],
)
def test_a_program_fills_its_own_space_and_no_more(fills: str) -> None:
    assert "No space left" in str(failure(fills))


def test_where_space_has_no_bounds_of_its_own_who_fills_it_is_ended() -> None:
    fills = "import time\nfor number in range(2_000): open(str(number), 'w').close()\ntime.sleep(30)"
    assert failure(fills, giving_up(SMALL.given_up & {"files", "network"})).reason == "program_space"


def test_a_program_has_no_capability() -> None:
    asked = "import ctypes, json; print(json.dumps({'mounted': ctypes.CDLL(None).unshare(0x20000)}))"
    assert run(asked).document == {"mounted": -1}


def test_no_program_runs_where_it_cannot_be_kept_from_our_files() -> None:
    open_machine = giving_up(SMALL.given_up - {"files"})
    refused = failure("print('{}')", open_machine)
    assert refused.reason == "sandbox_unavailable"
    assert "QPUBUS_SANDBOX=trusting" in str(refused)


def test_a_program_runs_there_where_the_operator_trusts_all_programs() -> None:
    trusting = giving_up(SMALL.given_up - {"files"}, trusts_programs=True)
    assert run("print('{}')", enclosure=trusting).document == {}


def test_a_failure_is_told_in_the_programs_last_words() -> None:
    assert str(failure("raise SystemExit('two qubits are needed')")) == "two qubits are needed"


def test_a_failure_tells_no_path_and_no_trace() -> None:
    message = str(failure("open('/etc/never/there.txt')"))
    assert message == "FileNotFoundError: [Errno 2] No such file or directory: '…'"


def test_an_abandoned_run_ends_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def abandon() -> None:
        program = b"import time; time.sleep(60)"
        task = asyncio.create_task(Enclosure(Limits(wall_s=60)).run(program, b"{}"))
        assert await asyncio.to_thread(begins, tmp_path)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(abandon())
    assert all_end(tmp_path)
