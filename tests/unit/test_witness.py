"""A witness: cosigns what grows, remembers it first, and refuses everything else."""

import os
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.witness.server import witness_app
from agents.witness.store import StoreBroken, WitnessStore
from agents.witness.witness import (
    OriginUnknown,
    ProofBroken,
    RequestMalformed,
    SignatureMissing,
    SizeConflict,
    Witness,
    parse_request,
    request_of,
)
from schemas.keys import raw_public_key
from schemas.merkle import Frontier, consistency_proof, leaf_hash
from schemas.note import Checkpoint, Kind, Note, NoteKey, Signature, parse_checkpoint, parse_signature, sign_text
from streams.disk import Disk

ORIGIN = "qpubus/abc/intents/0"
LOG_KEY = Ed25519PrivateKey.from_private_bytes(b"l" * 32)
LOG = NoteKey(ORIGIN, Kind.TEXT, raw_public_key(LOG_KEY))
LEAVES = [leaf_hash(bytes([number])) for number in range(20)]
FORK = [leaf_hash(b"another"), *LEAVES[1:]]


def grown(leaves: list[bytes]) -> Frontier:
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier


def signed(leaves: list[bytes], origin: str = ORIGIN, key: Ed25519PrivateKey = LOG_KEY) -> Note:
    text = Checkpoint(origin, len(leaves), grown(leaves).root()).text
    return Note(text, (sign_text(key, origin, text),))


def request(old: int, new: int, leaves: list[bytes] = LEAVES) -> bytes:
    return request_of(old, consistency_proof(grown(leaves[:old]), leaves[old:new]), signed(leaves[:new])).data


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return on(WitnessStore(tmp_path / "witness"))


def on(store: WitnessStore) -> Witness:
    return Witness("w.example", Ed25519PrivateKey.from_private_bytes(b"w" * 32), [LOG], store, lambda: 1_800_000_000)


def test_the_first_checkpoint_is_cosigned(witness: Witness) -> None:
    line = witness.add_checkpoint(request(0, 5))
    note = signed(LEAVES[:5])
    assert Note(note.text, (parse_signature(line.rstrip("\n")),)).signed_by(witness.key)


def test_a_tree_that_has_grown_is_cosigned(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 5))
    assert witness.add_checkpoint(request(5, 13))


def test_the_same_checkpoint_is_cosigned_again(witness: Witness) -> None:
    assert witness.add_checkpoint(request(0, 5)) == witness.add_checkpoint(request(5, 5))


def test_a_log_that_is_rolled_back_is_refused(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 13))
    with pytest.raises(SizeConflict):
        witness.add_checkpoint(request(0, 5))


def test_a_conflict_tells_the_size_cosigned_last(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 13))
    with pytest.raises(SizeConflict) as refused:
        witness.add_checkpoint(request(4, 20))
    assert refused.value.size == 13


def test_a_fork_of_the_same_size_is_refused(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 5))
    with pytest.raises(SizeConflict):
        witness.add_checkpoint(request(5, 5, FORK))


def test_a_fork_that_has_grown_is_refused(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 5))
    with pytest.raises(ProofBroken):
        witness.add_checkpoint(request(5, 13, FORK))


def test_after_a_refusal_the_true_history_goes_on(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 5))
    with pytest.raises(ProofBroken):
        witness.add_checkpoint(request(5, 13, FORK))
    assert witness.add_checkpoint(request(5, 13))


def test_a_log_that_is_not_watched_is_refused(witness: Witness) -> None:
    with pytest.raises(OriginUnknown):
        witness.add_checkpoint(request_of(0, [], signed(LEAVES[:5], "qpubus/abc/results/0")).data)


def test_a_checkpoint_signed_by_another_key_is_refused(witness: Witness) -> None:
    with pytest.raises(SignatureMissing):
        witness.add_checkpoint(request_of(0, [], signed(LEAVES[:5], key=Ed25519PrivateKey.generate())).data)


def test_a_broken_signature_of_the_log_is_refused(witness: Witness) -> None:
    note = signed(LEAVES[:5])
    forged = Note(note.text, (Signature(ORIGIN, LOG.key_id, bytes(64)),))
    with pytest.raises(SignatureMissing):
        witness.add_checkpoint(request_of(0, [], forged).data)


def test_an_old_size_above_the_new_one_is_refused(witness: Witness) -> None:
    with pytest.raises(RequestMalformed):
        witness.add_checkpoint(request_of(6, [], signed(LEAVES[:5])).data)


def test_a_proof_of_a_first_checkpoint_must_be_empty(witness: Witness) -> None:
    with pytest.raises(ProofBroken):
        witness.add_checkpoint(request_of(0, [bytes(32)], signed(LEAVES[:5])).data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(request(0, 5).replace(b"old 0", b"old"), id="no size"),
        pytest.param(request(0, 5).replace(b"old 0", b"old 00"), id="leading zero"),
        pytest.param(request(0, 5).replace(b"old 0\n", b"old 0\n\n"), id="two empty lines"),
        pytest.param(request(5, 13)[:-1], id="cut"),
        pytest.param(request_of(5, [b"short"], signed(LEAVES[:13])).data, id="short hash"),
        pytest.param(request_of(5, [bytes(32)] * 64, signed(LEAVES[:13])).data, id="64 hashes"),
        pytest.param(request(0, 5) + b"x" * 100_000, id="too long"),
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(RequestMalformed):
        parse_request(data)


def test_a_restarted_witness_remembers(tmp_path: Path) -> None:
    store = WitnessStore(tmp_path)
    on(store).add_checkpoint(request(0, 13))
    store.close()
    with pytest.raises(SizeConflict):
        on(WitnessStore(tmp_path)).add_checkpoint(request(0, 5, FORK))


def test_a_checkpoint_that_is_not_on_the_medium_is_not_cosigned(tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise OSError("no medium")

    failing = on(WitnessStore(tmp_path, Disk(sync=fail)))
    with pytest.raises(OSError, match="no medium"):
        failing.add_checkpoint(request(0, 5))
    assert failing.store.read(ORIGIN) is None


def test_what_is_remembered_is_synced_before_it_counts(tmp_path: Path) -> None:
    order: list[str] = []

    def write(descriptor: int, data: bytes, at: int) -> int:
        order.append("write")
        return os.pwrite(descriptor, data, at)

    on(WitnessStore(tmp_path, Disk(pwrite=write, sync=lambda _: order.append("sync")))).add_checkpoint(request(0, 5))
    assert order == ["write", "sync"]


def test_with_a_broken_memory_nothing_is_cosigned(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(request(0, 5))
    [path] = (tmp_path / "witness").glob("*.note")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreBroken):
        witness.add_checkpoint(request(5, 13))


def test_two_witnesses_cannot_share_a_memory(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(request(0, 5))
    with pytest.raises(StoreBroken, match="another witness"):
        WitnessStore(tmp_path / "witness")


async def answered(witness: Witness, data: bytes) -> tuple[int, str, bytes]:
    async with TestClient(TestServer(witness_app(witness, print))) as client:
        answer = await client.post("/add-checkpoint", data=data)
        return answer.status, answer.content_type, await answer.read()


async def test_over_http_a_cosignature_is_a_line(witness: Witness) -> None:
    status, _, body = await answered(witness, request(0, 5))
    assert (status, body.decode()) == (200, witness.add_checkpoint(request(5, 5)))


async def test_over_http_a_conflict_has_the_size_and_its_type(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 13))
    assert await answered(witness, request(0, 5)) == (409, "text/x.tlog.size", b"13\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"nonsense", 400, id="malformed"),
        pytest.param(request_of(0, [], signed(LEAVES[:5], key=Ed25519PrivateKey.generate())).data, 403, id="signature"),
        pytest.param(request_of(0, [], signed(LEAVES[:5], "another")).data, 404, id="origin"),
        pytest.param(request_of(0, [bytes(32)], signed(LEAVES[:5])).data, 422, id="proof"),
    ],
)
async def test_over_http_each_refusal_has_its_status(witness: Witness, data: bytes, status: int) -> None:
    assert (await answered(witness, data))[0] == status


async def test_over_http_auditors_get_what_was_cosigned_last(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 5))
    async with TestClient(TestServer(witness_app(witness, print))) as client:
        body = await (await client.get("/checkpoints")).read()
    assert body == witness.store.all()
    assert parse_checkpoint(body.decode().partition("\n\n")[0] + "\n").size == 5


async def test_over_http_a_memory_that_fails_is_no_cosignature(tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise OSError("no medium")

    assert (await answered(on(WitnessStore(tmp_path, Disk(sync=fail))), request(0, 5)))[0] == 500
