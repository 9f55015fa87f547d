"""Who may speak: `keys list`, `keys enrol`, `keys revoke`, `keys rotate`, `keys encrypt`."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, Json
from qpubus.door_client import is_running
from qpubus.governing import Entry, Register, govern, open_register
from qpubus.keyfile import fetch_passphrase, is_encrypted, read_key, replace_key, write_key
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.tables import table
from schemas.events import KeyEnrolled
from schemas.keys import KeyInvalid, check_public_key, key_id, raw_public_key
from schemas.topics import Role

app = typer.Typer(name="keys", help="Say who may speak.", no_args_is_help=True, rich_markup_mode=None)

_AWAY = frozenset({Role.AGENT, Role.APPROVER, Role.ADMIN})
"""Roles whose keys no part of the bus holds."""

Governor = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The root's or an admin's private key; DIR/keys/root.pem if none."),
]
KeyName = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, or its first digits.")]
New = Annotated[
    Path | None, typer.Option("--new", metavar="FILE", help="Make a new key and write it to this file, mode 0600.")
]
Public = Annotated[
    str,
    typer.Option("--public", metavar="HEX|FILE", help="The public key of who keeps the private one: hex, or PEM."),
]
Encrypt = Annotated[
    bool, typer.Option("--encrypt", help="Keep the new key under a passphrase, typed or from $QPUBUS_PASSPHRASE_FILE.")
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it goes on the log.")]


@app.callback()
def keys() -> None:
    """Say who may speak, by which key. What is said goes on the log, signed by the root or an admin."""


@app.command(name="list")
def list_keys(*, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """List all keys that were ever enrolled, and what became of them."""
    register = asyncio.run(open_register(data))
    if json:
        show.json([_document(each) for each in register.entries.values()])
        return
    rows = [
        (
            each.enrolled.key_id,
            each.enrolled.source,
            each.enrolled.role,
            each.enrolled.assurance,
            show.utc(each.enrolled_us),
            f"revoked {show.utc(each.revoked_us)}: {each.revoked.reason}" if each.revoked else "counts",
        )
        for each in register.entries.values()
    ]
    table(("key", "of", "role", "assurance", "enrolled", "state"), rows)


def _document(entry: Entry) -> dict[str, Any]:
    return entry.enrolled.model_dump() | {
        "enrolled_us": entry.enrolled_us,
        "revoked_us": entry.revoked_us if entry.revoked else None,
        "reason": entry.revoked.reason if entry.revoked else None,
    }


@app.command()
def enrol(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Whose key it is: agent:cowork:user-42.")],
    role: Annotated[Role, typer.Argument(metavar="ROLE", help="What the key may be used for.")],
    *,
    public: Public = "",
    new: New = None,
    encrypt: Encrypt = False,
    device: Annotated[list[str] | None, typer.Option("--device", metavar="ID", help="For role device: which.")] = None,
    key: Governor = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Let a key speak for somebody from here on: one that is theirs (--public), or a new one (--new)."""
    governor = read_key(key or Place(data).key("root"))
    register = asyncio.run(open_register(data))
    public_key = _new_public_key(public, new, encrypt=encrypt)
    enrolled = _enrolment(public_key, source, role.value, tuple(device or ()), is_virtual=register.is_virtual)
    asyncio.run(govern(data, register, governor, [(enrolled, ())], subject=enrolled.key_id))
    _tell({"enrolled": enrolled.key_id, "source": source, "role": role.value}, json=json)


@app.command()
def revoke(name: KeyName, *, why: Why, key: Governor = None, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Let a key count no longer. What it said up to here stays valid; what it says from here on is refused."""
    governor = read_key(key or Place(data).key("root"))
    register = asyncio.run(open_register(data))
    entry = _living(register, name)
    _refuse_beside_bus(data, entry)
    asyncio.run(govern(data, register, governor, register.revocation(entry, why), subject=entry.enrolled.key_id))
    _tell({"revoked": entry.enrolled.key_id, "source": entry.enrolled.source}, json=json)


@app.command()
def rotate(
    name: KeyName,
    *,
    public: Public = "",
    new: New = None,
    encrypt: Encrypt = False,
    why: Why = "rotated",
    key: Governor = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Put a new key in the place of another, at once: the same name, role and count of what was said.

    A key that lies in DIR/keys is replaced there, unless --new or --public names another.
    """
    governor = read_key(key or Place(data).key("root"))
    register = asyncio.run(open_register(data))
    _finish_rotations(Place(data).keys, register)
    entry = _living(register, name)
    _refuse_beside_bus(data, entry)
    old = entry.enrolled
    file = None if new or public else _file_of(Place(data).keys, old.key_id)
    public_key = _next_key(file, encrypt=encrypt) if file else _new_public_key(public, new, encrypt=encrypt)
    enrolled = _enrolment(public_key, old.source, old.role, old.devices, is_virtual=register.is_virtual)
    events = [*register.revocation(entry, why), (enrolled, ())]
    asyncio.run(govern(data, register, governor, events, subject=old.key_id))
    if file:
        _next(file).replace(file)
    _tell({"revoked": old.key_id, "enrolled": enrolled.key_id, "source": old.source}, json=json)


def _next(file: Path) -> Path:
    return file.with_name(f"{file.name}.next")


def _next_key(file: Path, *, encrypt: bool) -> bytes:
    """The public key of a new private key that is written beside the one whose place it will take."""
    passphrase = fetch_passphrase(f"New passphrase of {file}", new=True) if encrypt or is_encrypted(file) else b""
    private = Ed25519PrivateKey.generate()
    replace_key(_next(file), private, passphrase)
    return raw_public_key(private)


def _finish_rotations(folder: Path, register: Register) -> None:
    """Put those new keys in their places that are enrolled already: whoever rotated them was stopped half way."""
    for path in folder.glob("*.pem.next"):
        entry = register.entries.get(key_id(raw_public_key(read_key(path))))
        if entry and not entry.revoked:
            path.replace(path.with_suffix(""))


@app.command()
def encrypt(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Private key files.")], *, json: Json = False
) -> None:
    """Put one passphrase on private key files, or another one in its place.

    A bus whose keys are encrypted asks for the passphrase when it starts, or reads it from $QPUBUS_PASSPHRASE_FILE.
    """
    keys = {file: read_key(file) for file in files}
    passphrase = fetch_passphrase("New passphrase", new=True)
    for file, private in keys.items():
        replace_key(file, private, passphrase)
    _tell({"encrypted": ", ".join(map(str, files))}, json=json)


def _living(register: Register, name: str) -> Entry:
    entry = register.entry(name)
    if entry.revoked:
        raise Problem(f"the key {entry.enrolled.key_id} was revoked before", code="key_revoked")
    return entry


def _refuse_beside_bus(data: Path, entry: Entry) -> None:
    """A part of the bus would go on with its old key, and what it said meanwhile would be lost."""
    if entry.enrolled.role not in _AWAY and is_running(data):
        raise Problem(
            f"{entry.enrolled.source} is a part of the bus that runs on {data}",
            "Stop the bus, do it, and start the bus again.",
            code="part_running",
        )


def _enrolment(public_key: bytes, source: str, role: str, devices: tuple[str, ...], *, is_virtual: bool) -> KeyEnrolled:
    check_public_key(public_key)
    if role == Role.ROOT:
        raise Problem("there is one root key, and it is the one that the site was founded under")
    if (role == Role.DEVICE) != bool(devices):
        raise Problem("a key of role device speaks for devices, and no other does", "Name them with --device.")
    return KeyEnrolled(
        key_id=key_id(public_key),
        public_key=public_key,
        source=source,
        role=role,
        devices=devices,
        assurance="demo" if is_virtual else "file",
    )


def _new_public_key(public: str, new: Path | None, *, encrypt: bool) -> bytes:
    """The public key that was named, or that of a new private key, which is written first."""
    if bool(public) == bool(new):
        raise Problem("name either a public key with --public, or a file for a new key with --new")
    if new is None:
        return _read_public(public)
    private = Ed25519PrivateKey.generate()
    write_key(new, private, fetch_passphrase(f"Passphrase of {new}", new=True) if encrypt else b"")
    return raw_public_key(private)


def _read_public(public: str) -> bytes:
    path = Path(public)
    try:
        if not path.is_file():
            return bytes.fromhex(public)
        key = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        raise KeyInvalid(f"{public[:80]} is neither a public key in hex nor a file with one in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyInvalid(f"{public} holds another kind of key; an Ed25519 key is needed")
    return raw_public_key(key)


def _file_of(folder: Path, name: str) -> Path:
    """The file in a folder that holds the private key of that name."""
    for path in sorted(folder.glob("*.pem")):
        with suppress(KeyInvalid):  # one that cannot be opened here may be another's
            if key_id(raw_public_key(read_key(path))) == name:
                return path
    raise Problem(
        f"the private key {name} is not in {folder}", "Name the new key with --public, or its file with --new."
    )


def _tell(document: dict[str, str], *, json: bool) -> None:
    if json:
        show.json(document)
    else:
        show.facts(document.items())
