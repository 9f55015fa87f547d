"""The stand-alone verifier on what people sign: of every proof, sound or spoilt, it says what our own check says."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from replay import standalone
from schemas.events import HumanProof, KeyEnrolled
from schemas.keys import key_id, raw_public_key
from schemas.people import PersonKey, person_signed, point_of, read_ssh_key, read_ssh_signature, signed_words
from tests.support.jobs import halted, key_of
from tests.support.world import SITE
from tests.unit.test_people import ORIGIN, PAYLOAD, RP_ID, UP, UV, assertion, hardware_signature, plain, ssh_signed


def by_both(payload: bytes, proof: HumanProof, key: PersonKey) -> bool:
    """What both say of a proof; they must say the same."""
    carried = standalone.Key(
        key_id(key.public_key),
        key.public_key,
        "approver:ada",
        "approver",
        [],
        proof_type=key.proof_type,
        algorithm=key.algorithm,
        relying_party=key.relying_party,
        origin=key.origin,
    )
    ours = person_signed(payload, proof, key)
    assert standalone.person_signed(payload, proof.model_dump(), carried) == ours, proof
    return ours


def ssh_case(directory: Path, kind: str) -> tuple[HumanProof, PersonKey]:
    path = directory / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    return plain(read_ssh_signature(ssh_signed(path, PAYLOAD))), read_ssh_key(path.with_suffix(".pub").read_text())


def case(directory: Path, name: str) -> tuple[HumanProof, PersonKey]:
    """A sound proof over PAYLOAD and its key."""
    private, p256 = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    public, point = raw_public_key(private), point_of(p256.public_key())
    match name:
        case "plain":
            return plain(private.sign(PAYLOAD), "ed25519"), PersonKey(public)
        case "ssh-ed25519":
            return ssh_case(directory, "ed25519")
        case "ssh-ecdsa":
            return ssh_case(directory, "ecdsa")
        case "ssh-hardware":
            key = PersonKey(public, "sshsig", "Ed25519", "ssh:")
            return plain(hardware_signature(private, key, UP, PAYLOAD)), key
        case "passkey-ed25519":
            return assertion(private), PersonKey(public, "webauthn", "Ed25519", RP_ID, ORIGIN)
        case _:
            return assertion(p256), PersonKey(point, "webauthn", "ES256", RP_ID, ORIGIN)


KINDS = ("plain", "ssh-ed25519", "ssh-ecdsa", "ssh-hardware", "passkey-ed25519", "passkey-es256")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_proof_holds(tmp_path: Path, kind: str) -> None:
    assert by_both(PAYLOAD, *case(tmp_path, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_no_changed_byte_of_a_proof_holds(tmp_path: Path, kind: str) -> None:
    proof, key = case(tmp_path, kind)
    holding = []
    for part in ("signature", "client_data", "authenticator_data"):
        data: bytes = getattr(proof, part)
        for at in range(len(data)):
            spoilt = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            if by_both(PAYLOAD, proof.model_copy(update={part: spoilt}), key):
                holding.append((part, at))
    assert holding == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_or_longer_signature_holds(tmp_path: Path, kind: str) -> None:
    proof, key = case(tmp_path, kind)
    cut = [proof.signature[:at] for at in range(len(proof.signature))]
    for signature in (*cut, proof.signature + b"\0"):
        assert not by_both(PAYLOAD, proof.model_copy(update={"signature": signature}), key)


@pytest.mark.parametrize("kind", KINDS)
def test_another_payload_does_not_hold(tmp_path: Path, kind: str) -> None:
    assert not by_both(PAYLOAD + b" ", *case(tmp_path, kind))


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": UP},
        {"flags": UV},
        {"rp_id": "evil.example"},
        {"origin": "https://evil.example"},
        {"type": "webauthn.create"},
        {"crossOrigin": True},
        {"crossOrigin": 0},
    ],
    ids=str,
)
def test_a_passkey_that_was_used_otherwise_does_not_hold(changes: dict[str, Any]) -> None:
    p256 = ec.generate_private_key(ec.SECP256R1())
    key = PersonKey(point_of(p256.public_key()), "webauthn", "ES256", RP_ID, ORIGIN)
    assert not by_both(PAYLOAD, assertion(p256, **changes), key)


@pytest.mark.parametrize("data", [b"[" * 8_000, b"\xff\xfe{\x00}\x00", b"{}", b"[]", b'{"type": NaN}'], ids=repr)
def test_client_data_of_another_form_does_not_hold(data: bytes) -> None:
    p256 = ec.generate_private_key(ec.SECP256R1())
    key = PersonKey(point_of(p256.public_key()), "webauthn", "ES256", RP_ID, ORIGIN)
    assert not by_both(PAYLOAD, assertion(p256).model_copy(update={"client_data": data}), key)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_enrolled_for_another_kind_of_proof_does_not_hold(tmp_path: Path, kind: str) -> None:
    proof, key = case(tmp_path, kind)
    others = [each for each in ("ed25519", "sshsig", "webauthn") if each != key.proof_type]
    for other in others:
        assert not by_both(PAYLOAD, proof, PersonKey(key.public_key, other, key.algorithm, RP_ID, ORIGIN))


def test_a_halt_is_checked_over_the_same_words() -> None:
    order = halted("h1", "site", SITE, "operator:ada")
    fields = {name: value for name, value in order.model_dump().items() if name != "proof"}
    words = standalone.canonical({"fields": standalone.plain(fields), "site": SITE, "type": "qpubus.HaltOrdered"})
    assert words == signed_words(order, SITE)


@pytest.mark.parametrize("is_after", [True, False])
def test_a_halt_counts_up_to_where_governance_ends_its_persons_key(*, is_after: bool) -> None:
    order = halted("h1", "site", SITE, "operator:ada")
    public = raw_public_key(key_of("operator:ada"))
    key = standalone.Key(order.proof.key_id, public, "operator:ada", "operator", [], revoked=True, revoked_at=7)
    record = standalone.Record("governance", 8 if is_after else 6, 0, {}, b"", b"", "")
    said = standalone.Event(record, "HaltOrdered", order.model_dump(), "", key, 1, 0, [])
    if is_after:
        with pytest.raises(standalone.Wrong) as wrong:
            standalone.check_person(said, SITE, {key.key_id: key})
        assert wrong.value.reason == "person_key_revoked"
    else:
        standalone.check_person(said, SITE, {key.key_id: key})


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "gateway", "proof_type": "sshsig"},
        {"role": "agent", "algorithm": "ES256"},
        {"proof_type": "webauthn"},
        {"public_key": bytes(32)},
        {"algorithm": "ES256", "proof_type": "sshsig", "public_key": b"\x04" + bytes(64)},
        {"algorithm": "ES256"},
    ],
    ids=str,
)
def test_a_key_that_admission_refuses_is_refused(changes: dict[str, Any]) -> None:
    public = raw_public_key(Ed25519PrivateKey.generate())
    fields: dict[str, Any] = {"key_id": "0", "public_key": public, "source": "a", "role": "approver"}
    said = KeyEnrolled(**fields | changes)
    key = standalone.Key(
        said.key_id,
        said.public_key,
        said.source,
        said.role,
        [],
        proof_type=said.proof_type,
        algorithm=said.algorithm,
        relying_party=said.relying_party,
        origin=said.origin,
    )
    assert not standalone.is_enrollable(key)
