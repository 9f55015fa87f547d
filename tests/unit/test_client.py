"""The requesting agent and the job it ships."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.approver import Approver
from agents.client import RequestingAgent, h2_documents, h2_manifest
from agents.devices.approved import check_approved
from schemas.digests import sha256_hex
from schemas.events import ApprovalStatement, CircuitRun
from schemas.keys import key_id, raw_public_key
from schemas.manifest import Manifest, signed_payload
from schemas.people import PersonKey
from schemas.proofs import TYPE_INTENT, approval_holds, verify_jws

KEY = Ed25519PrivateKey.generate()


def test_an_agents_proof_holds_for_its_manifest() -> None:
    manifest = h2_manifest("h2", "agent:a", "site-a", 1)
    payload = verify_jws(RequestingAgent("agent:a", KEY).sign(manifest), KEY.public_key(), TYPE_INTENT)
    assert payload == signed_payload(manifest)


def test_the_shipped_job_names_its_documents_by_digest() -> None:
    named = {document.name: sha256_hex(document.content) for document in h2_documents()}
    assert h2_manifest("h2", "agent:a", "site-a", 1).artifacts == named


def test_no_exact_energy_enters_the_shipped_job() -> None:
    told = signed_payload(h2_manifest("h2", "agent:a", "site-a", 1))
    assert b"exact" not in told + b"".join(document.content for document in h2_documents())


def test_the_shipped_jobs_seed_reaches_its_programs() -> None:
    manifest = h2_manifest("h2", "agent:a", "site-a", 42)
    assert (manifest.seed, manifest.parameters["seed"]) == (42, 42)


def test_the_shipped_manifest_reads_back_as_it_was_written() -> None:
    manifest = h2_manifest("h2", "agent:a", "site-a", 1)
    assert Manifest.model_validate_json(signed_payload(manifest), strict=True) == manifest


def test_the_first_circuits_of_the_shipped_job_are_within_its_ranges() -> None:
    manifest = h2_manifest("h2", "agent:a", "site-a", 1)
    for template, circuit in enumerate(manifest.quantum.templates()):
        for theta in (circuit.parameters["theta"].low, 0.0, circuit.parameters["theta"].high):
            check_approved([CircuitRun(template=template, parameters={"theta": theta}, shots=1)], manifest)


def test_an_approvers_signature_is_for_one_statement_and_one_decision() -> None:
    statement = ApprovalStatement(
        site="site-a",
        job_id="h2",
        purpose="p",
        intent_digest="0" * 64,
        template_digests=(),
        program_digests=(),
        shots=1,
        price_ceiling_microusd=1,
        policy_digest="0" * 64,
        expires_us=1,
        nonce="0" * 64,
    )
    public = raw_public_key(KEY)
    proof, key = Approver("approver:a", KEY).grant(statement).proof, PersonKey(public)
    assert proof.key_id == key_id(public)
    assert approval_holds(statement, "grant", "", proof, key)
    assert not approval_holds(statement, "deny", "", proof, key)
    assert not approval_holds(statement.model_copy(update={"shots": 2}), "grant", "", proof, key)
