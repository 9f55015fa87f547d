"""Proofs that people make: plain keys, SSH keys and passkeys, held against other people's tools."""

import base64
import subprocess
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

import orjson
import pytest
import sshsig
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from webauthn import verify_authentication_response
from webauthn.helpers import encode_cbor
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    PublicKeyCredentialType,
)

from schemas import people
from schemas.events import HumanProof
from schemas.keys import KeyInvalid, raw_public_key
from schemas.people import (
    PersonKey,
    SignatureMalformed,
    check_person_key,
    person_signed,
    point_of,
    read_ssh_key,
    read_ssh_signature,
    ssh_blob,
)

PAYLOAD = b'{"decision":"grant","statement":{"job_id":"job-1"}}'
RP_ID, ORIGIN = "lab.example", "https://lab.example"
UP, UV = 0x01, 0x04


def plain(signature: bytes, proof_type: str = "sshsig") -> HumanProof:
    return HumanProof.model_validate({"proof_type": proof_type, "key_id": "0" * 32, "signature": signature})


@pytest.fixture(params=["ed25519", "ecdsa"])
def ssh_key(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", request.param, "-N", "", "-C", "", "-f", path], check=True)
    return path


def ssh_signed(path: Path, payload: bytes, namespace: str = people.SSH_NAMESPACE, *options: str) -> str:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(path), *options]
    return subprocess.run(command, input=payload, check=True, capture_output=True).stdout.decode()


class TestSsh:
    def test_what_ssh_keygen_signs_holds(self, ssh_key: Path) -> None:
        key = read_ssh_key(ssh_key.with_suffix(".pub").read_text())
        assert person_signed(PAYLOAD, plain(read_ssh_signature(ssh_signed(ssh_key, PAYLOAD))), key)

    def test_a_signature_over_the_shorter_hash_holds_too(self, ssh_key: Path) -> None:
        key = read_ssh_key(ssh_key.with_suffix(".pub").read_text())
        signed = ssh_signed(ssh_key, PAYLOAD, people.SSH_NAMESPACE, "-O", "hashalg=sha256")
        assert person_signed(PAYLOAD, plain(read_ssh_signature(signed)), key)

    def test_another_payload_does_not_hold(self, ssh_key: Path) -> None:
        key = read_ssh_key(ssh_key.with_suffix(".pub").read_text())
        assert not person_signed(PAYLOAD + b" ", plain(read_ssh_signature(ssh_signed(ssh_key, PAYLOAD))), key)

    def test_a_signature_made_for_git_does_not_count_here(self, ssh_key: Path) -> None:
        key = read_ssh_key(ssh_key.with_suffix(".pub").read_text())
        assert not person_signed(PAYLOAD, plain(read_ssh_signature(ssh_signed(ssh_key, PAYLOAD, "git"))), key)

    def test_no_changed_byte_of_a_signature_holds(self, ssh_key: Path) -> None:
        key = read_ssh_key(ssh_key.with_suffix(".pub").read_text())
        signature = read_ssh_signature(ssh_signed(ssh_key, PAYLOAD))
        changed = [signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :] for at in range(len(signature))]
        assert not [each for each in changed if person_signed(PAYLOAD, plain(each), key)]

    def test_no_cut_signature_holds(self, ssh_key: Path) -> None:
        key = read_ssh_key(ssh_key.with_suffix(".pub").read_text())
        signature = read_ssh_signature(ssh_signed(ssh_key, PAYLOAD))
        assert not [at for at in range(len(signature)) if person_signed(PAYLOAD, plain(signature[:at]), key)]

    def test_a_public_key_is_written_as_ssh_writes_it(self, ssh_key: Path) -> None:
        line = ssh_key.with_suffix(".pub").read_text()
        assert base64.b64encode(ssh_blob(read_ssh_key(line))).decode() == line.split()[1]

    def test_another_implementation_agrees(self, tmp_path: Path) -> None:
        path = tmp_path / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        armoured, line = ssh_signed(path, PAYLOAD), path.with_suffix(".pub").read_text()
        sshsig.verify(PAYLOAD, armoured, [sshsig.PublicKey.from_openssh_str(line)], people.SSH_NAMESPACE)
        assert person_signed(PAYLOAD, plain(read_ssh_signature(armoured)), read_ssh_key(line))

    def test_a_key_of_another_kind_is_refused_by_name(self, tmp_path: Path) -> None:
        path = tmp_path / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", path], check=True)
        with pytest.raises(SignatureMalformed, match="ssh-rsa is not taken: make one of ssh-ed25519"):
            read_ssh_key(path.with_suffix(".pub").read_text())

    @pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA", "ecdsa AAAAC3Nz"])
    def test_what_is_no_key_is_refused(self, line: str) -> None:
        with pytest.raises(SignatureMalformed):
            read_ssh_key(line)


def text(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data


def hardware_signature(private: Ed25519PrivateKey, key: PersonKey, flags: int, payload: bytes) -> bytes:
    """A signature as a security key makes it (OpenSSH, PROTOCOL.u2f)."""
    kind, namespace = b"sk-ssh-ed25519@openssh.com", people.SSH_NAMESPACE.encode()
    digest = sha512(payload).digest()
    signed = b"SSHSIG" + text(namespace) + text(b"") + text(b"sha512") + text(digest)
    tail = bytes([flags]) + (7).to_bytes(4)
    body = private.sign(sha256(key.relying_party.encode()).digest() + tail + sha256(signed).digest())
    inner = text(kind) + text(body) + tail
    head = b"SSHSIG" + (1).to_bytes(4) + text(ssh_blob(key)) + text(namespace) + text(b"") + text(b"sha512")
    return head + text(inner)


class TestSshHardware:
    def key(self, private: Ed25519PrivateKey) -> PersonKey:
        return PersonKey(raw_public_key(private), "sshsig", "Ed25519", "ssh:")

    def test_a_touched_security_key_counts(self) -> None:
        private = Ed25519PrivateKey.generate()
        key = self.key(private)
        assert person_signed(PAYLOAD, plain(hardware_signature(private, key, UP, PAYLOAD)), key)

    def test_an_untouched_one_does_not(self) -> None:
        private = Ed25519PrivateKey.generate()
        key = self.key(private)
        assert not person_signed(PAYLOAD, plain(hardware_signature(private, key, 0, PAYLOAD)), key)

    def test_ssh_keygen_agrees_on_the_form(self, tmp_path: Path) -> None:
        private = Ed25519PrivateKey.generate()
        key = self.key(private)
        line = f"sk-ssh-ed25519@openssh.com {base64.b64encode(ssh_blob(key)).decode()}"
        (tmp_path / "signers").write_text(f"ada {line}\n")
        encoded = base64.b64encode(hardware_signature(private, key, UP, PAYLOAD)).decode()
        armoured = f"-----BEGIN SSH SIGNATURE-----\n{encoded}\n-----END SSH SIGNATURE-----\n"
        (tmp_path / "sig").write_text(armoured)
        command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "ada"]
        command += ["-n", people.SSH_NAMESPACE, "-s", str(tmp_path / "sig")]
        assert subprocess.run(command, input=PAYLOAD, check=False, capture_output=True).returncode == 0
        assert read_ssh_key(line) == key


def assertion(
    private: Ed25519PrivateKey | ec.EllipticCurvePrivateKey,
    payload: bytes = PAYLOAD,
    *,
    flags: int = UP | UV,
    rp_id: str = RP_ID,
    **client: object,
) -> HumanProof:
    """What an authenticator and a browser make of a challenge (WebAuthn, sections 5.8.1 and 6.1)."""
    challenge = base64.urlsafe_b64encode(sha256(payload).digest()).rstrip(b"=").decode()
    said = {"type": "webauthn.get", "challenge": challenge, "origin": ORIGIN, "crossOrigin": False} | client
    client_data = orjson.dumps(said)
    data = sha256(rp_id.encode()).digest() + bytes([flags]) + (5).to_bytes(4)
    message = data + sha256(client_data).digest()
    if isinstance(private, Ed25519PrivateKey):
        signature = private.sign(message)
    else:
        signature = private.sign(message, ec.ECDSA(hashes.SHA256()))
    return HumanProof(
        proof_type="webauthn",
        key_id="0" * 32,
        signature=signature,
        client_data=client_data,
        authenticator_data=data,
    )


P256 = ec.generate_private_key(ec.SECP256R1())
PASSKEY = PersonKey(point_of(P256.public_key()), "webauthn", "ES256", RP_ID, ORIGIN)


class TestPasskey:
    def test_an_assertion_over_the_payload_holds(self) -> None:
        assert person_signed(PAYLOAD, assertion(P256), PASSKEY)

    def test_one_by_an_ed25519_passkey_holds(self) -> None:
        private = Ed25519PrivateKey.generate()
        key = PersonKey(raw_public_key(private), "webauthn", "Ed25519", RP_ID, ORIGIN)
        assert person_signed(PAYLOAD, assertion(private), key)

    def test_the_user_must_have_been_verified(self) -> None:
        assert not person_signed(PAYLOAD, assertion(P256, flags=UP), PASSKEY)

    def test_the_user_must_have_been_present(self) -> None:
        assert not person_signed(PAYLOAD, assertion(P256, flags=UV), PASSKEY)

    @pytest.mark.parametrize(
        "client",
        [
            {"origin": "https://lab.example.evil"},
            {"type": "webauthn.create"},
            {"challenge": "AAAA"},
            {"crossOrigin": True},
            {"origin": ["https://lab.example"]},
        ],
        ids=["origin", "type", "challenge", "framed", "mistyped"],
    )
    def test_another_client_data_does_not_hold(self, client: dict[str, Any]) -> None:
        assert not person_signed(PAYLOAD, assertion(P256, **client), PASSKEY)

    def test_another_relying_party_does_not_hold(self) -> None:
        assert not person_signed(PAYLOAD, assertion(P256, rp_id="evil.example"), PASSKEY)

    def test_another_payload_does_not_hold(self) -> None:
        assert not person_signed(PAYLOAD + b" ", assertion(P256), PASSKEY)

    def test_a_proof_of_another_kind_than_enrolled_does_not_hold(self) -> None:
        private = Ed25519PrivateKey.generate()
        passkey = PersonKey(raw_public_key(private), "webauthn", "Ed25519", RP_ID, ORIGIN)
        assert not person_signed(PAYLOAD, plain(private.sign(PAYLOAD), "ed25519"), passkey)

    def test_another_implementation_agrees(self) -> None:
        proof, numbers = assertion(P256), P256.public_key().public_numbers()
        cose = encode_cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)})
        credential = AuthenticationCredential(
            id="AQ",
            raw_id=b"\x01",
            response=AuthenticatorAssertionResponse(
                client_data_json=proof.client_data,
                authenticator_data=proof.authenticator_data,
                signature=proof.signature,
            ),
            type=PublicKeyCredentialType.PUBLIC_KEY,
        )
        verified = verify_authentication_response(
            credential=credential,
            expected_challenge=sha256(PAYLOAD).digest(),
            expected_rp_id=RP_ID,
            expected_origin=ORIGIN,
            credential_public_key=cose,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
        assert verified.user_verified
        assert person_signed(PAYLOAD, proof, PASSKEY)


def unpadded(encoded: str) -> bytes:
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


class TestRecordedAssertions:
    """Assertions of real authenticators, from the tests of py_webauthn (`test_verify_authentication_response.py`)."""

    ORIGIN = "http://localhost:5000"

    def test_one_with_a_verified_user_holds(self) -> None:
        point = b"\x04" + unpadded("WbU_L4XPMU67BdtFtOv3lKIPG4HUGRmwQQnEWGq7OqQ")
        point += unpadded("L1U1T713Jo_2muzhXvpbwRNdoAs8CYK6PflvY1MBdCI")
        challenge = "6zrSRX8CxwPSXEArXyXL2tpb6rB7Star0rLVIj5rvf74mZKF5ir715Xmgz5tA_GyHexN4oXfrQ889ArVCLaRdA"
        proof = HumanProof(
            proof_type="webauthn",
            key_id="0" * 32,
            signature=unpadded(
                "MEUCIQDBqeI274exaKWGQz37g7yo1--TVcZSCcYVftZ1AnEJkQIgNw-nlx-_U9rVfFfER8oX6BlYZTuPFyGaL_wCDY23s0E"
            ),
            client_data=(
                f'{{"type":"webauthn.get","challenge":"{challenge}","origin":"{self.ORIGIN}","crossOrigin":false}}'
            ).encode(),
            authenticator_data=unpadded("SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MFYN-Mog"),
        )
        key = PersonKey(point, "webauthn", "ES256", "localhost", self.ORIGIN)
        assert people._passkey_holds(key, proof, unpadded(challenge))

    def test_one_without_is_refused_though_its_signature_holds(self) -> None:
        challenge = "eZ4eeA3O4jy5FIzqDaSJ6JDNGu0bBc5zI1DjQ_kLso1WNqkG6k5mCYf1dtQhVUiBWZWlZkzR5MFeeWCpJRUNXw"
        data = unpadded("SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MBAAAABw")
        client_data = (
            f'{{"type":"webauthn.get","challenge":"{challenge}","origin":"{self.ORIGIN}","crossOrigin":false}}'
        ).encode()
        signature = unpadded("RRWV8mYDRvK7YdQgdtZD4pJ2dh1D_IWZ_D6jsZo6FHJBoenbj0CVT5nA20vUzlRhN4R6dOEUHmUwP1F8eRBhBg")
        proof = HumanProof(
            proof_type="webauthn",
            key_id="0" * 32,
            signature=signature,
            client_data=client_data,
            authenticator_data=data,
        )
        public_key = unpadded("zPr9JQUuIOJ3ZiGWrRhujIn4IOsis2mQ9QaYmngPcOk")
        key = PersonKey(public_key, "webauthn", "Ed25519", "localhost", self.ORIGIN)
        assert people._holds(key, signature, data + sha256(client_data).digest())
        assert not people._passkey_holds(key, proof, unpadded(challenge))


class TestKeys:
    @pytest.mark.parametrize("public_key", [b"", bytes(65), b"\x04" + bytes(64), b"\x02" + bytes(32)])
    def test_what_is_no_point_of_the_curve_is_never_enrolled(self, public_key: bytes) -> None:
        with pytest.raises(KeyInvalid):
            check_person_key(PersonKey(public_key, "webauthn", "ES256", RP_ID, ORIGIN))

    def test_a_low_order_key_is_never_enrolled(self) -> None:
        with pytest.raises(KeyInvalid, match="low order"):
            check_person_key(PersonKey(bytes(32), "sshsig"))

    def test_a_passkey_needs_its_origin(self) -> None:
        with pytest.raises(KeyInvalid, match="origin"):
            check_person_key(PersonKey(point_of(P256.public_key()), "webauthn", "ES256", RP_ID))

    def test_an_oversized_proof_is_not_looked_at(self) -> None:
        private = Ed25519PrivateKey.generate()
        proof = HumanProof(
            proof_type="ed25519",
            key_id="0" * 32,
            signature=private.sign(PAYLOAD),
            client_data=bytes(people.PROOF_BYTES_MAX),
        )
        assert not person_signed(PAYLOAD, proof, PersonKey(raw_public_key(private)))
