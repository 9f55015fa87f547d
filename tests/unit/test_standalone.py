"""The stand-alone verifier, part by part, against other people's code and vectors."""

import base64
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from replay import standalone
from schemas.keys import KeyInvalid, check_public_key
from schemas.note import Kind, NoteKey
from schemas.topics import REJECTS, WRITERS, Role
from tests.support.bundled import HOME, bundled
from tests.support.golden import Golden, goldens
from tests.support.golden_log import FREE
from tests.support.signed import private_key
from tests.support.vectors import vector_lines

FILE = Path(standalone.__file__ or "")
LISTING = """
import runpy, sys
before = set(sys.modules)
runpy.run_path(sys.argv[1], run_name="verifier")
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def test_it_imports_the_standard_library_and_cryptography_alone() -> None:
    command = [sys.executable, "-I", "-c", LISTING, str(FILE)]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert loaded - set(sys.stdlib_module_names) <= {"cryptography", "_openssl", "_cffi_backend", "cffi"}
    assert "cryptography" in loaded


def test_it_works_where_it_is_carried_to(tmp_path: Path) -> None:
    file = shutil.copy(FILE, tmp_path / "verify.py")
    (tmp_path / "bundle").write_bytes(bundled(FREE))
    (tmp_path / "root.pub").write_text(HOME[1].hex())
    command = [sys.executable, "-I", file, str(tmp_path / "bundle"), "--root", str(tmp_path / "root.pub")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("verdict     sound\n")


def test_its_table_of_roles_is_that_of_the_log() -> None:
    ours = {
        topic: {event.__name__: {role.value for role in roles} for event, roles in types.items()}
        for topic, types in WRITERS.items()
    }
    its = {
        topic: {name: set(roles.split()) for name, roles in types.items()}
        for topic, types in standalone.WRITERS.items()
    }
    assert its == ours
    assert list(its) == list(ours)
    assert {topic: role.value for topic, role in REJECTS.items()} == standalone.REJECTS
    assert {"root", *standalone._ROLES} == {role.value for role in Role}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_written_as_rfc_8785_has_them(number: float) -> None:
    assert standalone.number_text(number).encode() == rfc8785.dumps(number)


@given(JSON)
def test_json_is_written_as_rfc_8785_has_it(value: Any) -> None:
    assert standalone.canonical(value) == rfc8785.dumps(value)
    assert standalone.read_json(standalone.canonical(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}', "9007199254740992", "1" * 5_000, "1e999", "NaN", "-Infinity", "[" * 100_000, "{", "",
        '"\\ud800"',
    ],
)  # fmt: skip
def test_json_that_two_readers_could_take_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (any is told to the user as it is)
        standalone.canonical(standalone.read_json(text.encode()))


def test_wycheproof_signatures_get_the_same_verdict_as_at_ingest_and_in_an_audit() -> None:
    verdicts = set()
    for case in vector_lines("wycheproof_ed25519.jsonl"):
        key, message, signature = (bytes.fromhex(case[name]) for name in ("pk", "msg", "sig"))
        alone = standalone.holds(key, signature, message)
        assert alone == (case["result"] == "valid") == holds_at_ingest(key, signature, message), case["tcId"]
        verdicts.add(alone)
    assert verdicts == {True, False}


def holds_at_ingest(key: bytes, signature: bytes, message: bytes) -> bool:
    """Ingest and audit check a key when it is enrolled, and verify by what comes of that."""
    try:
        check_public_key(key).verify(signature, message)
    except Exception:  # noqa: BLE001 (the vectors bring several)
        return False
    return True


def test_keys_are_taken_and_refused_as_when_they_are_enrolled() -> None:
    p, verdicts = 2**255 - 19, set()
    torsion = [0, 1, p - 1, 2707385501144840649318225287225658788936804267575313519463743609750303402022]
    for y in [*torsion, *range(2, 60), p, p + 1, 2**255 - 1]:
        for sign in (0, 1 << 255):
            raw = (y | sign).to_bytes(32, "little")
            try:
                taken = check_public_key(raw) is not None
            except (KeyInvalid, ValueError):
                taken = False
            assert (standalone.public_key(raw) is not None) == taken, hex(y)
            verdicts.add(taken)
    assert verdicts == {True, False}
    assert standalone.public_key(bytes(31)) is None


def test_published_inclusion_proofs_get_the_published_verdict() -> None:
    checked = 0
    for case in vector_lines("merkle_inclusion.jsonl"):
        leaf, root = (base64.b64decode(case[name] or "") for name in ("leafHash", "root"))
        path = [base64.b64decode(each) for each in case["proof"] or []]
        if len(leaf) != 32 or len(root) != 32 or any(len(each) != 32 for each in path):
            continue  # hashes of another length are refused when the bundle is read
        found = standalone.root_of_path(leaf, case["leafIdx"], case["treeSize"], path)
        assert (found == root) == (not case["wantErr"]), case["file"]
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("golden", list(goldens()), ids=lambda golden: golden.path.stem)
def test_its_avro_reader_reads_every_event_as_ours_does(golden: Golden) -> None:
    fields = standalone.Schema(golden.schema.text).read(golden.record.value[5:])
    assert orjson.loads(orjson.dumps(fields, default=bytes.hex)) == golden.event


ARRAY = '{"type":"record","name":"A","namespace":"q","fields":[{"name":"a","type":{"type":"array","items":"long"}}]}'


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (ARRAY, b"\xfe\xff\xff\xff\x0f\x00"),
        (ARRAY, b"\xff" * 12),
        (ARRAY, b"\x02\x02\x00\x00"),
        (ARRAY, b""),
        ('{"type":"record","name":"A","namespace":"q","fields":[{"name":"a","type":"q.A"}]}', b"\x00" * 9),
        ('{"type":"record","name":"A","namespace":"q","fields":[]}', b""),
        ('{"type":"record","name":"A","namespace":"q","fields":[{"name":"a","type":"null"}]}', b""),
        ('"string"', b"\x00"),
        ('{"type":"array","items":' * 5_000 + '"long"' + "}" * 5_000, b""),
        ("[]", b""),
    ],
)
def test_hostile_schemas_and_bodies_are_refused(text: str, body: bytes) -> None:
    with pytest.raises(standalone.Wrong):
        standalone.Schema(text).read(body)


def record(name: str, *fields: tuple[Any, Any]) -> dict[str, Any]:
    named = [{"name": f"f{at}", "type": kind, "default": default} for at, (kind, default) in enumerate(fields)]
    return {"type": "record", "name": name, "namespace": "q", "fields": named}


def doubling(depth: int) -> dict[str, Any]:
    """Each record has the next one twice, by default."""
    if depth == 0:
        return record("R0", ("long", 1))
    return record(f"R{depth}", (doubling(depth - 1), {}), (f"q.R{depth - 1}", {}))


@pytest.mark.parametrize(
    "schema", [record("R", ("q.R", {})), record("R", ({"type": "array", "items": "q.R"}, [{}])), doubling(28)]
)
def test_defaults_without_end_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(standalone.Wrong, match=r"nested too deeply|have no end"):
        standalone.Schema(orjson.dumps(schema).decode()).completed(f"q.{schema['name']}", {})


def test_bodies_that_go_deeper_than_any_event_are_refused() -> None:
    lists: Any = "q.R"
    for _ in range(25):
        lists = {"type": "array", "items": lists}
    schema = standalone.Schema(orjson.dumps(record("R", (lists, []))).decode())
    with pytest.raises(standalone.Wrong, match="nested too deeply"):
        schema.read(b"\x02" * 5_000)


def vkey(name: str, kind: Kind = Kind.COSIGNATURE) -> str:
    return NoteKey(name, kind, private_key(name).public_key().public_bytes_raw()).text


def test_a_policy_of_two_of_three_is_met_by_any_two() -> None:
    lines = [f"witness w{n} {vkey(f'w{n}.example')}" for n in range(3)]
    policy = standalone.read_policy("\n".join([*lines, "# the quorum", "group g 2 w0 w1 w2", "quorum g", ""]))
    met = [policy.is_met(names) for names in ({"w0"}, {"w0", "w2"}, {"w1", "w2"}, {"w0", "x"}, set())]
    assert met == [False, True, True, False, False]


@pytest.mark.parametrize(
    "lines",
    [
        "quorum g",
        "witness w KEY",
        "witness w KEY|witness w KEY|quorum w",
        "witness w KEY|group g 2 w|quorum g",
        "witness w KEY|group g any w v|quorum g",
        "witness w KEYA|quorum w",
        "witness w KEY|quorum w|quorum w",
        "log KEY|quorum none",
        "nonsense",
    ],
)
def test_a_policy_that_is_not_in_its_form_is_refused(lines: str) -> None:
    with pytest.raises(standalone.Unreadable):
        standalone.read_policy(lines.replace("KEY", vkey("w.example")).replace("|", "\n"))
