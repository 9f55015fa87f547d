"""Signed notes and checkpoints: what is written is read back, and nothing else is."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.keys import raw_public_key
from schemas.note import (
    Checkpoint,
    Kind,
    Note,
    NoteInvalid,
    NoteKey,
    Signature,
    cosign,
    notes_text,
    parse_checkpoint,
    parse_key,
    parse_note,
    parse_notes,
    parse_signature,
    sign_text,
)

ORIGIN = "qpubus/0f4b1c/intents/0"
WITNESS = "witness.example.com/w1"
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
LOG = NoteKey(ORIGIN, Kind.TEXT, raw_public_key(KEY))
COSIGNER = NoteKey(WITNESS, Kind.COSIGNATURE, raw_public_key(KEY))
TEXT = Checkpoint(ORIGIN, 4_711, bytes(range(32))).text
NOTE = Note(TEXT, (sign_text(KEY, ORIGIN, TEXT), cosign(KEY, WITNESS, TEXT, 1_679_315_147)))
PUBLISHED = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
""".encode()  # noqa: E501 (the example of C2SP tlog-cosignature, as it stands there)
ROOT = base64.b64encode(bytes(32)).decode()


def test_a_note_is_read_back_as_it_was_written() -> None:
    assert parse_note(NOTE.data) == NOTE


def test_the_published_example_is_a_note_of_a_checkpoint() -> None:
    note = parse_note(PUBLISHED)
    assert (note.data, parse_checkpoint(note.text).size) == (PUBLISHED, 20_852_163)


def test_a_signature_of_the_log_holds() -> None:
    assert NOTE.signed_by(LOG) == NOTE.signatures[0]


def test_a_cosignature_holds() -> None:
    assert NOTE.signed_by(COSIGNER) == NOTE.signatures[1]


def test_a_cosignature_of_another_time_does_not_hold() -> None:
    later = NOTE.signatures[1].signature
    forged = Signature(WITNESS, COSIGNER.key_id, b"\x00" * 7 + b"\x01" + later[8:])
    with pytest.raises(NoteInvalid, match="does not hold"):
        Note(TEXT, (forged,)).signed_by(COSIGNER)


def test_a_signature_of_another_text_does_not_hold() -> None:
    with pytest.raises(NoteInvalid, match="does not hold"):
        Note(TEXT.replace("4711", "4712"), NOTE.signatures).signed_by(LOG)


def test_one_broken_signature_of_a_known_key_spoils_the_note() -> None:
    forged = NOTE.signatures[0]._replace(signature=bytes(64))
    with pytest.raises(NoteInvalid):
        Note(TEXT, (NOTE.signatures[0], forged)).signed_by(LOG)


def test_a_signature_under_another_name_is_of_an_unknown_key() -> None:
    assert NOTE.signed_by(LOG._replace(name="qpubus/0f4b1c/results/0")) is None


def test_a_key_says_the_same_as_its_text() -> None:
    assert parse_key(COSIGNER.text) == COSIGNER


def test_the_id_of_a_key_depends_on_its_kind() -> None:
    assert LOG.key_id != LOG._replace(kind=Kind.COSIGNATURE).key_id


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(LOG.text.replace(ORIGIN, "another"), id="another name"),
        pytest.param(NoteKey("a b", Kind.TEXT, LOG.public_key).text, id="name with a blank"),
        pytest.param(LOG.text + "=", id="loose base64"),
        pytest.param(NoteKey(ORIGIN, Kind.TEXT, b"\x01" + bytes(31)).text, id="low order"),
        pytest.param(NoteKey(ORIGIN, Kind.TEXT, bytes(31)).text, id="short"),
        pytest.param("a+00000000+" + base64.b64encode(b"\x02" + LOG.public_key).decode(), id="another kind"),
    ],
)
def test_a_key_that_nobody_should_trust_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        parse_key(text)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(TEXT.encode(), id="no signatures"),
        pytest.param(TEXT.encode() + b"\n", id="no signature lines"),
        pytest.param(NOTE.data[:-1], id="no last newline"),
        pytest.param(NOTE.data + b"\n", id="empty line at the end"),
        pytest.param(NOTE.data.replace(b"\n", b"\r\n"), id="carriage returns"),
        pytest.param(NOTE.data.replace("—".encode(), b"-"), id="another dash"),
        pytest.param(NOTE.data.replace(b"intents/0 ", b"intents/0  "), id="two blanks"),
        pytest.param(NOTE.data.replace(b"intents/0 ", b"intents/0\t"), id="tab"),
        pytest.param(NOTE.data[:-2] + b"!\n", id="no base64"),
        pytest.param(b"\xff" + NOTE.data, id="not UTF-8"),
        pytest.param(b"x" * (1 << 16) + NOTE.data, id="too long"),
        pytest.param(Note(TEXT, NOTE.signatures * 51).data, id="too many signatures"),
    ],
)
def test_what_we_would_not_have_written_is_no_note(data: bytes) -> None:
    with pytest.raises(NoteInvalid):
        parse_note(data)


def test_no_changed_byte_leaves_a_note_that_both_keys_have_signed() -> None:
    survivors = []
    for at in range(len(NOTE.data)):
        changed = NOTE.data[:at] + bytes([NOTE.data[at] ^ 1]) + NOTE.data[at + 1 :]
        try:
            note = parse_note(changed)
            if note.signed_by(LOG) and note.signed_by(COSIGNER):
                survivors.append(at)
        except NoteInvalid:
            continue
    assert survivors == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"\n1\n{ROOT}\n", id="no origin"),
        pytest.param(f"o\n01\n{ROOT}\n", id="leading zero"),
        pytest.param(f"o\n-1\n{ROOT}\n", id="negative"),
        pytest.param(f"o\n\N{ARABIC-INDIC DIGIT ONE}\n{ROOT}\n", id="other digits"),
        pytest.param(f"o\n{1 << 64}\n{ROOT}\n", id="beyond 64 bits"),
        pytest.param("o\n1\nAAAA\n", id="short root"),
        pytest.param(f"o\n1\n{ROOT[:-2]}B=\n", id="loose base64"),
        pytest.param(f"o\n1\n{ROOT}\nextension\n", id="extension line"),
        pytest.param(f"o\n1\n{ROOT}", id="no last newline"),
    ],
)
def test_what_we_would_not_have_written_is_no_checkpoint(text: str) -> None:
    with pytest.raises(NoteInvalid):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "line", ["", "—", "— name", "— name AAAA", "— na+me AAAAAAAA", "- name AAAAAAAA", "— n m AAAAAAAA"]
)
def test_what_is_no_signature_line_is_refused(line: str) -> None:
    with pytest.raises(NoteInvalid):
        parse_signature(line)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_file_of_notes_is_read_back(count: int) -> None:
    assert parse_notes(notes_text([NOTE] * count)) == [NOTE] * count


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(NOTE.data + NOTE.data, id="nothing between"),
        pytest.param(NOTE.data + b"\n", id="half a separator"),
        pytest.param(NOTE.data + b"\n\n" + NOTE.data, id="two lines between"),
    ],
)
def test_a_file_of_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(NoteInvalid):
        parse_notes(data)
