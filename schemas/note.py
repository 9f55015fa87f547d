r"""Signed notes and checkpoints as C2SP has them (signed-note, tlog-checkpoint, tlog-cosignature).

A note is a text and signatures of it. This one is a checkpoint, signed by its log and cosigned by a witness:

    qpubus/0f4b1c…9e/intents/0
    4711
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — qpubus/0f4b1c…9e/intents/0 Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJu…8=
    — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEh…A==

The text is all before the empty line that stands last, its own last newline included. Each line after it is an em dash,
the name of a key, and base64 of the key's id (4 bytes) and a signature. What a signature signs depends on the kind of
key, and the kind goes into the id, SHA-256(name ‖ 0A ‖ kind ‖ public key)[:4]:

    01  Ed25519 of the text
    04  8 bytes of UNIX time, then Ed25519 of `cosignature/v1\ntime <time>\n` and the text

The text of a checkpoint is three lines: its origin, which names one tree for ever, the tree's size, base64 of its root.
Both readers here refuse what the writers would not have written byte for byte; we write no extension lines.
"""

import base64
import binascii
from collections.abc import Iterable
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.keys import KeyInvalid, check_public_key, raw_public_key

NOTE_BYTES_MAX = 1 << 16
SIGNATURES_MAX = 100
SIZE_END = 1 << 63
_ROOT_BYTES = 32
_ID_BYTES = 4
_TIME_BYTES = 8


class NoteInvalid(ValueError):
    """Bytes that are no note, no checkpoint or no key in the forms above."""


class Kind(IntEnum):
    """What a key signs."""

    TEXT = 1
    COSIGNATURE = 4


class Signature(NamedTuple):
    """A signature line taken apart: whose, by which key, and the bytes after the key's id."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """It as a line of a note."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


class NoteKey(NamedTuple):
    """A public key that signs notes under a name."""

    name: str
    kind: Kind
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that name the key in a signature line."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key).digest()[:_ID_BYTES]

    @property
    def text(self) -> str:
        """The key as users pass it around (a vkey): `name+0123abcd+base64`."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public_key).decode()}"

    def holds(self, signature: Signature, text: str) -> bool:
        """Whether a signature of this key, by its name and id, holds for a text."""
        data = signature.signature
        message = text.encode()
        if self.kind is Kind.COSIGNATURE:
            message = cosigned_message(int.from_bytes(data[:_TIME_BYTES], "big"), text)
            data = data[_TIME_BYTES:]
        try:
            check_public_key(self.public_key).verify(data, message)
        except (InvalidSignature, KeyInvalid):
            return False
        return True


class Note(NamedTuple):
    """A text and who signed it."""

    text: str
    signatures: tuple[Signature, ...]

    @property
    def data(self) -> bytes:
        """The note as it is published."""
        return f"{self.text}\n{''.join(each.line for each in self.signatures)}".encode()

    def signed_by(self, key: NoteKey) -> Signature | None:
        """The signature of a key on this note; `NoteInvalid` if one claims to be and does not hold."""
        held = None
        for each in self.signatures:
            if (each.name, each.key_id) == (key.name, key.key_id):
                if not key.holds(each, self.text):
                    raise NoteInvalid(f"the signature of {key.name} does not hold")
                held = held or each
        return held


class Checkpoint(NamedTuple):
    """A tree at a size."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text of its note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_note(data: bytes) -> Note:
    """A note from its bytes; `NoteInvalid` unless they are exactly those of `Note.data`."""
    if len(data) > NOTE_BYTES_MAX:
        raise NoteInvalid(f"a note has at most {NOTE_BYTES_MAX:,} bytes")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise NoteInvalid("a note is UTF-8") from None
    text, parted, lines = whole.rpartition("\n\n")
    if not parted:
        raise NoteInvalid("no empty line parts the text from its signatures")
    if any(ord(sign) < ord(" ") and sign != "\n" for sign in whole):
        raise NoteInvalid("a note holds no control characters")
    note = Note(text + "\n", tuple(parse_signature(line) for line in lines.removesuffix("\n").split("\n")))
    if len(note.signatures) > SIGNATURES_MAX:
        raise NoteInvalid(f"a note has at most {SIGNATURES_MAX} signatures")
    if note.data != data:
        raise NoteInvalid("the note is not in its canonical form")
    return note


def parse_signature(line: str) -> Signature:
    """A signature from a line without its newline."""
    match line.split(" "):
        case ["—", name, encoded] if is_name(name):
            try:
                data = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                data = b""
            if len(data) > _ID_BYTES and base64.b64encode(data).decode() == encoded:
                return Signature(name, data[:_ID_BYTES], data[_ID_BYTES:])
        case _:
            pass
    raise NoteInvalid(f"not a signature line: {line[:80]!r}")


def parse_checkpoint(text: str) -> Checkpoint:
    """A checkpoint from the text of its note; `NoteInvalid` unless it is exactly that of `Checkpoint.text`."""
    match text.split("\n"):
        case [origin, size, root, ""] if (
            origin and size.isascii() and size.isdigit() and len(size) < len(str(SIZE_END))
        ):
            try:
                checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
            except (binascii.Error, ValueError):
                raise NoteInvalid("the root of a checkpoint is base64 of 32 bytes") from None
            if len(checkpoint.root) == _ROOT_BYTES and checkpoint.text == text:
                return checkpoint
        case _:
            pass
    raise NoteInvalid("a checkpoint is three lines: origin, size, base64 of a root of 32 bytes")


def parse_key(text: str) -> NoteKey:
    """A key from its text; `NoteInvalid` if it is of another kind, or no key that anyone should trust."""
    try:
        name, _, encoded = text.split("+", 2)
        data = base64.b64decode(encoded, validate=True)
        key = NoteKey(name, Kind(data[0]), data[1:])
        check_public_key(key.public_key)
    except (ValueError, IndexError) as error:
        raise NoteInvalid(f"not a key of kind 01 or 04 as `name+id+base64`: {text[:80]!r} ({error})") from None
    if not is_name(name) or key.text != text:
        raise NoteInvalid(f"the id of the key {text[:80]!r} is not that of its name and bytes")
    return key


def is_name(name: str) -> bool:
    """Whether a key may have this name."""
    return bool(name) and "+" not in name and not any(sign.isspace() or ord(sign) < ord(" ") for sign in name)


def sign_text(key: Ed25519PrivateKey, name: str, text: str) -> Signature:
    """The signature of a log's key on a text."""
    public = NoteKey(name, Kind.TEXT, raw_public_key(key))
    return Signature(name, public.key_id, key.sign(text.encode()))


def cosign(key: Ed25519PrivateKey, name: str, text: str, time_s: int) -> Signature:
    """The cosignature of a witness's key on the text of a checkpoint, at a time."""
    public = NoteKey(name, Kind.COSIGNATURE, raw_public_key(key))
    stamp = time_s.to_bytes(_TIME_BYTES, "big")
    return Signature(name, public.key_id, stamp + key.sign(cosigned_message(time_s, text)))


def cosigned_message(time_s: int, text: str) -> bytes:
    """The bytes that a cosignature signs."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def notes_text(notes: Iterable[Note]) -> bytes:
    """Notes of checkpoints in one file, with an empty line between them."""
    return b"\n".join(note.data for note in notes)


def parse_notes(data: bytes) -> list[Note]:
    """The notes in such a file; `NoteInvalid` if it is anything else."""
    parts = data.split(b"\n\n")
    pairs = zip(parts[::2], parts[1::2], strict=False)
    notes = [parse_note(text + b"\n\n" + lines.removesuffix(b"\n") + b"\n") for text, lines in pairs]
    for note in notes:
        parse_checkpoint(note.text)
    if len(parts) % 2 or notes_text(notes) != data:
        raise NoteInvalid("not a file of checkpoints with an empty line between each and the next")
    return notes
