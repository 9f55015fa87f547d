"""The rules of a witness (C2SP tlog-witness): a request to add a checkpoint goes in, cosignature lines come out.

A request is text:

    old 4700
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
    jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=

    qpubus/0f4b1c…9e/intents/0
    4711
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — qpubus/0f4b1c…9e/intents/0 Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJu…8=

The size that the witness cosigned last, the hashes of the proof that the new tree begins with that one, an empty line,
the checkpoint as its log signed it.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.witness.store import WitnessStore
from schemas.keys import raw_public_key
from schemas.merkle import EMPTY_ROOT, is_consistent
from schemas.note import (
    NOTE_BYTES_MAX,
    Checkpoint,
    Kind,
    Note,
    NoteInvalid,
    NoteKey,
    Signature,
    cosign,
    parse_checkpoint,
    parse_note,
)

PROOF_LINES_MAX = 63
REQUEST_BYTES_MAX = NOTE_BYTES_MAX + 64 * 64


class Refusal(Exception):
    """A checkpoint that is not cosigned."""


class RequestMalformed(Refusal):
    """The request is not in the form above, or claims an old size above the new one."""


class OriginUnknown(Refusal):
    """No log of this origin is watched."""


class SignatureMissing(Refusal):
    """No signature of the log's key is on the checkpoint."""


class SizeConflict(Refusal):
    """The old size is not that of the checkpoint cosigned last, or the same size has another root."""

    def __init__(self, what: str, size: int) -> None:
        super().__init__(what)
        self.size = size


class ProofBroken(Refusal):
    """The proof does not show that the new tree begins with the old one: the log's history was rewritten."""


class Request(NamedTuple):
    """A request taken apart."""

    old_size: int
    proof: tuple[bytes, ...]
    note: Note
    checkpoint: Checkpoint

    @property
    def data(self) -> bytes:
        """It as it is sent."""
        lines = "".join(f"{base64.b64encode(hash_).decode()}\n" for hash_ in self.proof)
        return f"old {self.old_size}\n{lines}\n".encode() + self.note.data


def request_of(old_size: int, proof: Sequence[bytes], note: Note) -> Request:
    """A request about to be sent."""
    return Request(old_size, tuple(proof), note, parse_checkpoint(note.text))


def parse_request(data: bytes) -> Request:
    """A request as received; `RequestMalformed` unless it is exactly as `Request.data` writes it."""
    head, parted, rest = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    number = first.removeprefix(b"old ")
    if not parted or len(data) > REQUEST_BYTES_MAX or len(lines) > PROOF_LINES_MAX or not number.isdigit():
        raise RequestMalformed("not `old SIZE`, at most 63 hashes, an empty line and a checkpoint")
    try:
        note = parse_note(rest)
        proof = tuple(base64.b64decode(line, validate=True) for line in lines)
        request = Request(int(number), proof, note, parse_checkpoint(note.text))
    except (NoteInvalid, binascii.Error, ValueError) as error:
        raise RequestMalformed(str(error)) from None
    if request.data != data or any(len(hash_) != len(EMPTY_ROOT) for hash_ in proof):
        raise RequestMalformed("the request is not in its canonical form")
    return request


class Witness:
    """Cosigns what grows. Nothing of it is asynchronous, so in one process no two requests can overtake each other."""

    def __init__(
        self,
        name: str,
        key: Ed25519PrivateKey,
        logs: Sequence[NoteKey],
        store: WitnessStore,
        now_s: Callable[[], int],
    ) -> None:
        """`logs` are the keys of the logs it watches, each under the log's origin."""
        self.key = NoteKey(name, Kind.COSIGNATURE, raw_public_key(key))
        self.store = store
        self._private_key = key
        self._logs: dict[str, list[NoteKey]] = {}
        for log in logs:
            self._logs.setdefault(log.name, []).append(log)
        self._now_s = now_s

    def add_checkpoint(self, data: bytes) -> str:
        """The cosignature line for a request, remembered before it is returned; a `Refusal` says why there is none."""
        old_size, proof, note, checkpoint = parse_request(data)
        if checkpoint.origin not in self._logs:
            raise OriginUnknown(f"this witness watches no log {checkpoint.origin!r}")
        signatures = self._own(note, checkpoint.origin)
        if not signatures:
            raise SignatureMissing(f"no key of the log {checkpoint.origin} has signed this checkpoint")
        if old_size > checkpoint.size:
            raise RequestMalformed(f"the old size {old_size} is above the new size {checkpoint.size}")
        last = self._last(checkpoint.origin)
        if old_size != last.size:
            raise SizeConflict(f"the last checkpoint cosigned has the size {last.size}", last.size)
        if old_size == checkpoint.size and last.root != checkpoint.root:
            raise SizeConflict("the checkpoint of this size that was cosigned has another root", last.size)
        if not is_consistent(last.size, last.root, checkpoint.size, checkpoint.root, proof):
            raise ProofBroken(f"the proof does not lead from size {last.size} to this checkpoint")
        signature = cosign(self._private_key, self.key.name, note.text, self._now_s())
        self.store.write(checkpoint.origin, Note(note.text, (*signatures, signature)))
        return signature.line

    def _own(self, note: Note, origin: str) -> tuple[Signature, ...]:
        """The signatures of the log's own keys; those of others are nobody's business here."""
        held = []
        for key in self._logs[origin]:
            try:
                signature = note.signed_by(key)
            except NoteInvalid:
                signature = None
            if signature:
                held.append(signature)
        return tuple(held)

    def _last(self, origin: str) -> Checkpoint:
        note = self.store.read(origin)
        return parse_checkpoint(note.text) if note else Checkpoint(origin, 0, EMPTY_ROOT)
