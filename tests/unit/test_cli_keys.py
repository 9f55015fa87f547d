"""`keys`: who may speak, from where on and up to where, and what key files give away."""

import asyncio
import itertools
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus import keyfile
from qpubus.governing import TOPIC, Register, append_governance, govern, open_register
from qpubus.keyfile import PASSPHRASE_FILE, is_encrypted, read_key, write_key
from qpubus.place import Place
from replay.audit import verify
from replay.verdict import Verdict
from schemas.admission import Admission, Admitted, Refused
from schemas.events import ArtifactStored, KeyEnrolled, KeyRevoked
from schemas.keys import KeyInvalid, key_id, raw_public_key
from schemas.topics import TOPICS
from streams.author import Draft, Scribe, seal_all
from streams.log.embedded import EmbeddedLog
from streams.reader import Reader
from streams.stage import Heard
from tests.support.commands import qpubus, running_bus

SITE, SANDBOX = "site-a", "sandbox:main"
LOW_ORDER = ("01" + "00" * 31, "00" * 32, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    assert qpubus("init", "--data", tmp_path / "data").code == 0
    return tmp_path / "data"


def keys_of(data: Path, source: str) -> list[dict[str, Any]]:
    return [each for each in qpubus("keys", "list", "--json", "--data", data).json if each["source"] == source]


def key_of(data: Path, source: str) -> str:
    """The key that counts for somebody."""
    (living,) = [each for each in keys_of(data, source) if each["revoked_us"] is None]
    name: str = living["key_id"]
    return name


def register_of(data: Path) -> Register:
    return asyncio.run(open_register(data))


def say(data: Path, key: Ed25519PrivateKey, *numbers: int, first: int) -> None:
    """Let the sandbox say under a key that it stored documents, as its `first` events on and following."""
    register = register_of(data)
    scribe = Scribe(SANDBOX, SITE, register.admission.writable, {"results": first - 1})
    written = [
        scribe.write(
            Draft(
                "results",
                ArtifactStored(digest=f"{number:064x}", media_type="a/b", size_bytes=1),
                SITE,
                register.latest_us,
            )
        )
        for number in numbers
    ]

    async def appended() -> None:
        log = EmbeddedLog(data, lambda: register.latest_us)
        await log.append(seal_all(written, key))
        await log.close()

    asyncio.run(appended())


def heard_by(data: Path, *, heeds_causes: bool, topics: tuple[str, ...] = TOPICS) -> tuple[list[int], list[str]]:
    """Which documents a reader believes were stored, and why it refuses what it refuses."""

    async def read() -> tuple[list[int], list[str]]:
        log = EmbeddedLog(data, lambda: 0)
        reader = Reader(log, 0, topics, {SITE: Place(data).read_root_public_key()}, heeds_causes=heeds_causes)
        items = await reader.read(10_000)
        await log.close()
        stored = [item.event for item in items if isinstance(item, Heard)]
        numbers = [int(event.digest, 16) for event in stored if isinstance(event, ArtifactStored)]
        return numbers, [item.reason for item in items if isinstance(item, Refused)]

    return asyncio.run(read())


def test_the_keys_of_a_new_site_are_listed(data: Path) -> None:
    (approver,) = keys_of(data, "approver:alice")
    assert (approver["role"], approver["assurance"], approver["revoked_us"]) == ("approver", "file", None)
    assert approver["key_id"] == key_id(raw_public_key(read_key(data / "keys" / "approver.pem")))


def test_a_new_key_is_enrolled_and_lies_where_only_its_owner_reads(data: Path, tmp_path: Path) -> None:
    done = qpubus("keys", "enrol", "agent:qwen", "agent", "--new", tmp_path / "qwen.pem", "--data", data, "--json")

    assert done.code == 0, done.err
    assert (
        done.json["enrolled"] == key_id(raw_public_key(read_key(tmp_path / "qwen.pem"))) == key_of(data, "agent:qwen")
    )
    assert stat.S_IMODE((tmp_path / "qwen.pem").stat().st_mode) == 0o600
    assert asyncio.run(verify(data)).verdict is Verdict.SOUND


@pytest.mark.parametrize("public", [*LOW_ORDER, "ff" * 32, "02" * 31, "hello"])
def test_a_low_order_or_malformed_key_is_never_enrolled(data: Path, public: str) -> None:
    before = qpubus("keys", "list", "--json", "--data", data).json
    done = qpubus("keys", "enrol", "agent:qwen", "agent", "--public", public, "--data", data)

    assert done.code == 1
    assert "error: " in done.err
    assert qpubus("keys", "list", "--json", "--data", data).json == before


def test_a_low_order_key_is_not_enrolled_by_who_skips_the_command(data: Path) -> None:
    weak = bytes.fromhex(LOW_ORDER[0])
    event = KeyEnrolled(key_id=key_id(weak), public_key=weak, source="agent:qwen", role="agent")
    register = register_of(data)
    scribe = Scribe("root", SITE, register.admission.writable, {TOPIC: register.last["root", TOPIC].sequence})
    records = seal_all(
        [scribe.write(Draft(TOPIC, event, SITE, register.latest_us))], read_key(data / "keys" / "root.pem")
    )

    async def asked() -> Refused | None:
        log = EmbeddedLog(data, lambda: register.latest_us)
        root = Place(data).read_root_public_key()
        try:
            return await append_governance(log, SITE, root, records, register.latest_us)
        finally:
            await log.close()

    refused = asyncio.run(asked())
    assert refused is not None
    assert refused.reason == "key_invalid"


def test_only_the_root_and_admins_govern(data: Path, tmp_path: Path) -> None:
    new = ("--new", tmp_path / "bob.pem", "--data", data)
    by_agent = qpubus("keys", "enrol", "admin:bob", "admin", *new, "--key", data / "keys" / "agent.pem")
    assert (by_agent.code, keys_of(data, "admin:bob")) == (1, [])

    assert not (tmp_path / "bob.pem").exists()
    assert qpubus("keys", "enrol", "admin:bob", "admin", *new).code == 0
    by_admin = qpubus(
        "keys",
        "revoke",
        key_of(data, "agent:cowork:user-42"),
        "--why",
        "left",
        "--key",
        tmp_path / "bob.pem",
        "--data",
        data,
    )
    assert by_admin.code == 0, by_admin.err
    assert keys_of(data, "agent:cowork:user-42")[0]["reason"] == "left"


def test_a_revocation_names_the_last_that_the_key_said(data: Path) -> None:
    say(data, read_key(data / "keys" / "sandbox.pem"), 1, 2, 3, first=1)
    last = register_of(data).last[SANDBOX, "results"]
    qpubus("keys", "revoke", key_of(data, SANDBOX), "--why", "lost", "--data", data)

    (causes,) = asyncio.run(_causes_of_revocations(data))
    assert [tuple(cause) for cause in causes] == [tuple(last)]
    assert last.sequence == 3


async def _causes_of_revocations(data: Path) -> list[tuple[Any, ...]]:
    log = EmbeddedLog(data, lambda: 0)
    stored = await log.read(TOPIC, 0, 0, 10_000)
    await log.close()
    admission = Admission(Place(data).read_root_public_key(), SITE, topics=frozenset())
    return [
        verdict.causes
        for verdict in admission.admit(stored)
        if isinstance(verdict, Admitted) and isinstance(verdict.event, KeyRevoked)
    ]


@pytest.mark.parametrize("heeds_causes", [True, False], ids=["causes-first", "topic-after-topic"])
def test_what_a_key_said_before_its_end_counts_and_what_it_says_later_does_not(data: Path, heeds_causes: bool) -> None:
    stolen = read_key(data / "keys" / "sandbox.pem")
    say(data, stolen, 1, 2, first=1)
    qpubus("keys", "revoke", key_of(data, SANDBOX), "--why", "stolen", "--data", data)
    say(data, stolen, 3, 4, first=3)

    assert heard_by(data, heeds_causes=heeds_causes) == ([1, 2], ["key_revoked"] * 2)


@pytest.mark.parametrize("heeds_causes", [True, False], ids=["causes-first", "topic-after-topic"])
def test_a_rotated_key_counts_on_whatever_its_thief_says_meanwhile(data: Path, heeds_causes: bool) -> None:
    stolen = read_key(data / "keys" / "sandbox.pem")
    say(data, stolen, 1, 2, first=1)
    assert qpubus("keys", "rotate", key_of(data, SANDBOX), "--data", data).code == 0
    say(data, stolen, 66, first=3)
    say(data, read_key(data / "keys" / "sandbox.pem"), 3, first=3)

    assert heard_by(data, heeds_causes=heeds_causes) == ([1, 2, 3], ["key_revoked"])


def test_a_number_that_a_refused_record_used_up_does_not_stop_the_next_key(data: Path) -> None:
    old = read_key(data / "keys" / "sandbox.pem")
    say(data, old, 1, first=1)
    _say_what_it_may_not(data, old)
    assert register_of(data).admission.sequences[SANDBOX, "results"] == 2
    assert qpubus("keys", "rotate", key_of(data, SANDBOX), "--data", data).code == 0
    say(data, read_key(data / "keys" / "sandbox.pem"), 3, first=3)

    for heeds_causes in (True, False):
        assert heard_by(data, heeds_causes=heeds_causes)[0] == [1, 3]


def _say_what_it_may_not(data: Path, key: Ed25519PrivateKey) -> None:
    register = register_of(data)
    scribe = Scribe(SANDBOX, SITE, register.admission.writable, {"results": 1})
    event = KeyRevoked(key_id=key_of(data, SANDBOX), reason="mine")
    written = scribe.write(Draft("results", event, SITE, register.latest_us))

    async def appended() -> None:
        log = EmbeddedLog(data, lambda: register.latest_us)
        await log.append(seal_all([written], key))
        await log.close()

    asyncio.run(appended())


def test_an_audit_finds_what_a_revoked_key_said(data: Path) -> None:
    stolen = read_key(data / "keys" / "sandbox.pem")
    say(data, stolen, 1, first=1)
    qpubus("keys", "revoke", key_of(data, SANDBOX), "--why", "stolen", "--data", data)
    assert asyncio.run(verify(data)).verdict is Verdict.SOUND
    say(data, stolen, 2, first=2)

    audit = asyncio.run(verify(data))
    assert audit.first_divergence is not None
    assert (audit.first_divergence.reason, audit.first_divergence.offset) == ("key_revoked", 1)


def test_an_audit_finds_what_a_key_said_that_had_said_nothing_before_it_was_revoked(data: Path) -> None:
    qpubus("keys", "revoke", key_of(data, SANDBOX), "--why", "stolen", "--data", data)
    say(data, read_key(data / "keys" / "sandbox.pem"), 1, first=1)

    assert heard_by(data, heeds_causes=False) == ([], ["key_revoked"])
    audit = asyncio.run(verify(data))
    assert [(finding.reason, finding.offset) for finding in audit.findings] == [("key_revoked", 0)]


def test_a_key_is_revoked_once(data: Path) -> None:
    name = key_of(data, "agent:cowork:user-42")
    assert qpubus("keys", "revoke", name[:8], "--why", "left", "--data", data).code == 0
    again = qpubus("keys", "revoke", name, "--why", "left", "--data", data)
    assert (again.code, "was revoked before" in again.err) == (1, True)


def test_a_rotation_that_was_stopped_half_way_is_finished(data: Path) -> None:
    file = data / "keys" / "sandbox.pem"
    old = file.read_bytes()
    qpubus("keys", "rotate", key_of(data, SANDBOX), "--data", data)
    file.rename(file.with_name("sandbox.pem.next"))
    file.write_bytes(old)
    file.chmod(0o600)
    assert qpubus("keys", "rotate", key_of(data, "clock:main"), "--data", data).code == 0

    assert key_id(raw_public_key(read_key(file))) == key_of(data, SANDBOX)


def test_a_key_beside_a_running_bus_goes_through_its_door(data: Path, tmp_path: Path) -> None:
    with running_bus(data):
        done = qpubus("keys", "enrol", "agent:qwen", "agent", "--new", tmp_path / "qwen.pem", "--data", data, "--json")
        assert done.code == 0, done.err
        assert qpubus("keys", "rotate", done.json["enrolled"], "--new", tmp_path / "2.pem", "--data", data).code == 0
        part = qpubus("keys", "rotate", key_of(data, SANDBOX), "--data", data)
        assert (part.code, "Stop the bus" in part.err) == (1, True)
    assert [bool(each["revoked_us"]) for each in keys_of(data, "agent:qwen")] == [True, False]
    assert asyncio.run(verify(data)).verdict is Verdict.SOUND


@pytest.fixture
def passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a passphrase, and its name where commands look for it."""
    monkeypatch.setattr(keyfile, "_opening", [])
    path = tmp_path / "passphrase"
    path.write_text("correct horse\n")
    path.chmod(0o600)
    monkeypatch.setenv(PASSPHRASE_FILE, str(path))
    return path


def test_an_encrypted_key_opens_with_its_passphrase_alone(
    tmp_path: Path, passphrase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Ed25519PrivateKey.generate()
    write_key(tmp_path / "key.pem", key)
    assert qpubus("keys", "encrypt", tmp_path / "key.pem").code == 0

    assert raw_public_key(read_key(tmp_path / "key.pem")) == raw_public_key(key)
    assert (tmp_path / "key.pem").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    keyfile._opening.clear()
    passphrase.write_text("incorrect horse")
    with pytest.raises(KeyInvalid, match="the passphrase does not open"):
        read_key(tmp_path / "key.pem")
    monkeypatch.delenv(PASSPHRASE_FILE)
    with pytest.raises(KeyInvalid, match="nobody is there to type it"):
        read_key(tmp_path / "key.pem")


def test_a_bus_runs_on_keys_that_are_all_encrypted(data: Path, passphrase: Path) -> None:
    files = sorted((data / "keys").glob("*.pem"))
    assert qpubus("keys", "encrypt", *files).code == 0
    assert all(is_encrypted(file) for file in files)
    with running_bus(data) as bus:
        assert bus.poll() is None
    assert asyncio.run(verify(data)).verdict is Verdict.SOUND
    assert passphrase.exists()


def test_a_passphrase_that_others_can_read_is_not_used(tmp_path: Path, passphrase: Path) -> None:
    passphrase.chmod(0o644)
    write_key(tmp_path / "key.pem", Ed25519PrivateKey.generate(), b"correct horse")
    with pytest.raises(KeyInvalid, match="can be read by others"):
        read_key(tmp_path / "key.pem")


def test_who_rotates_the_sealers_key_is_told_that_witnesses_need_the_new_one(data: Path) -> None:
    done = qpubus("keys", "rotate", key_of(data, "sealer:main"), "--data", data)
    assert "give each of them" in done.out
    assert f"qpubus audit logs --data {data}" in done.out


def test_an_encrypted_key_signs_and_stays_encrypted_when_rotated(data: Path, passphrase: Path) -> None:
    root, sandbox = data / "keys" / "root.pem", data / "keys" / "sandbox.pem"
    for file in (root, sandbox):
        assert qpubus("keys", "encrypt", file).code == 0
    done = qpubus("keys", "rotate", key_of(data, SANDBOX), "--data", data)

    assert done.code == 0, done.err
    assert sandbox.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert "correct horse" not in done.out + done.err
    assert passphrase.exists()


def test_a_site_that_lacks_a_schema_gets_it_with_the_first_event_that_needs_it(data: Path) -> None:
    register = register_of(data)
    name = "qpubus.KeyRevoked"
    del register.admission.writable[name]
    root = read_key(data / "keys" / "root.pem")
    revoked = KeyRevoked(key_id="00" * 16, reason="none")
    asyncio.run(govern(data, register, root, [(revoked, ())]))

    after = register_of(data).admission
    assert after.writable[name].schema_id == max(after.schemas) == len(register.admission.schemas) + 1
    assert not list(itertools.islice(heard_by(data, heeds_causes=True)[1], 1))


@pytest.mark.parametrize("odd", [("agent:x y", "agent"), ("agent:x", "agent", "--duty", "a b")])
def test_a_key_that_cannot_be_enrolled_as_it_is_said_leaves_no_file(
    data: Path, tmp_path: Path, odd: tuple[str, ...]
) -> None:
    done = qpubus("keys", "enrol", *odd, "--new", tmp_path / "new.pem", "--data", data)
    assert (done.code, list(tmp_path.glob("new.pem"))) == (1, [])
    assert "should match" in done.err


def test_a_file_that_is_there_is_not_taken_for_a_new_key(data: Path, tmp_path: Path) -> None:
    (tmp_path / "new.pem").write_text("mine")
    done = qpubus("keys", "enrol", "agent:x", "agent", "--new", tmp_path / "new.pem", "--data", data)
    assert (done.code, (tmp_path / "new.pem").read_text()) == (1, "mine")
    assert "is there already" in done.err
