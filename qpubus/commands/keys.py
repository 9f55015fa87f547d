"""Who may speak: `keys list`, `keys enrol`, `keys revoke`, `keys rotate`, `keys encrypt`."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agents.vault import Vault
from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, Governor, Json
from qpubus.door_client import is_running
from qpubus.governing import Entry, Register, govern, governor_of, kept_reason, open_register
from qpubus.keyfile import fetch_passphrase, is_encrypted, read_key, replace_key, write_key
from qpubus.new_file import check_new
from qpubus.place import Place
from qpubus.problem import Problem
from qpubus.signing import ssh_key_in
from qpubus.tables import table
from qpubus.web.held import GATEWAY_HELD, held_key_file
from schemas.events import KeyEnrolled
from schemas.keys import KeyInvalid, check_public_key, key_id, raw_public_key
from schemas.people import PersonKey
from schemas.topics import PEOPLE, Role

app = typer.Typer(
    name="keys", help="Say who may speak.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

_ROTATED = "rotated"
_AWAY = frozenset({Role.AGENT, Role.ADMIN}) | PEOPLE
"""Roles whose keys no part of the bus holds."""

RelyingParty = Annotated[
    str, typer.Option("--relying-party", metavar="DOMAIN", help="The passkey's RP id: the domain that it is used on.")
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
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; the vault keeps it.")]


def _nothing() -> None:
    """The private half of a key that was named lies elsewhere."""


class _Made(NamedTuple):
    """A public key to be enrolled. `write` puts the private half of a new one into its file, just before that."""

    public_key: bytes
    write: Callable[[], None] = _nothing


@app.callback()
def keys() -> None:
    """Say who may speak, by which key. What is said goes on the log, signed by the root or an admin."""


@app.command(name="list")
def list_keys(*, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """List all keys that were ever enrolled, and what became of them."""
    register, vault = asyncio.run(open_register(data)), Vault(Place(data).vault)
    if json:
        show.json([_document(each, vault) for each in register.entries.values()])
        return
    rows = [
        (
            each.enrolled.key_id,
            each.enrolled.source,
            each.enrolled.role,
            each.enrolled.proof_type if each.enrolled.role in PEOPLE else "",
            each.enrolled.assurance,
            show.utc(each.enrolled_us),
            f"revoked {show.utc(each.revoked_us)}: {vault.told(each.revoked.reason)}" if each.revoked else "counts",
        )
        for each in register.entries.values()
    ]
    table(("key", "of", "role", "signs by", "assurance", "enrolled", "state"), rows)


def _document(entry: Entry, vault: Vault) -> dict[str, Any]:
    return entry.enrolled.model_dump() | {
        "enrolled_us": entry.enrolled_us,
        "revoked_us": entry.revoked_us if entry.revoked else None,
        "reason": vault.told(entry.revoked.reason) if entry.revoked else None,
    }


@app.command()
def enrol(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Whose key it is: agent:cowork:user-42.")],
    role: Annotated[Role, typer.Argument(metavar="ROLE", help="What the key may be used for.")],
    *,
    public: Public = "",
    new: New = None,
    encrypt: Encrypt = False,
    ssh: Annotated[
        Path | None, typer.Option("--ssh", metavar="FILE.pub", help="A person's OpenSSH public key, hardware included.")
    ] = None,
    passkey: Annotated[
        Path | None,
        typer.Option("--passkey", metavar="FILE", help="A passkey, as a browser registered it."),
    ] = None,
    relying_party: RelyingParty = "",
    origin: Annotated[str, typer.Option("--origin", metavar="URL", help="Where the passkey is used: https://…")] = "",
    device: Annotated[list[str] | None, typer.Option("--device", metavar="ID", help="For role device: which.")] = None,
    duty: Annotated[
        list[str] | None,
        typer.Option("--duty", metavar="NAME", help="What a person answers for, or a project that an agent works for."),
    ] = None,
    held: Annotated[
        bool, typer.Option("--held", help="Make a key that the gateway holds and uses for an agent that can hold none.")
    ] = False,
    reads_site: Annotated[
        bool, typer.Option("--reads-site", help="For role agent: it may read the jobs of others at its site.")
    ] = False,
    key: Governor = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Let a key speak for somebody from here on: theirs, a new one (--new), or one that we hold (--held).

    A person's own key is a plain one (--public), an SSH key (--ssh) or a passkey (--passkey).
    """
    governor = read_key(key or Place(data).key("root"))
    register = asyncio.run(open_register(data))
    if (held or reads_site) and role != Role.AGENT:
        raise Problem("--held and --reads-site are for agents", "Leave them out.")
    if held:
        new = held_key_file(Place(data).keys, source)
    if ssh or passkey:
        if role not in PEOPLE or public or new:
            raise Problem("SSH keys and passkeys are for people, and stand for themselves", "Name one key of one kind.")
        named, credential = (
            (ssh_key_in(ssh), "") if ssh else _passkey(passkey, register.site, source, relying_party, origin)
        )
        made = _Made(named.public_key)
        enrolled = _personal(named, credential, source, role.value, is_virtual=register.is_virtual)
    else:
        made = _made_or_named(public, new, encrypt=encrypt)
        enrolled = _enrolment(made.public_key, source, role.value, tuple(device or ()), is_virtual=register.is_virtual)
    wanted = {"duties": tuple(duty or ()), "reads": "site" if reads_site else "own"}
    wanted |= {"assurance": GATEWAY_HELD} if held else {}
    enrolled = KeyEnrolled.model_validate(enrolled.model_dump() | wanted)
    governor_of(register, governor)
    made.write()
    asyncio.run(govern(data, register, governor, [(enrolled, ())], subject=enrolled.key_id))
    _tell({"enrolled": enrolled.key_id, "source": source, "role": role.value}, json=json)


@app.command()
def passkey(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Whose passkey it will be: approver:ada.")],
    *,
    relying_party: RelyingParty,
    data: Data = DEFAULT_DATA,
) -> None:
    """Print what a browser is given to make a passkey (`navigator.credentials.create`).

    Save `toJSON()` of what it makes to a file, and enrol it: qpubus keys enrol SOURCE approver --passkey FILE.
    """
    from qpubus.passkeys import creation_options  # noqa: PLC0415 (its library takes a quarter of a second)

    register = asyncio.run(open_register(data))
    show.json({"publicKey": creation_options(register.site, source, relying_party)})


@app.command()
def revoke(name: KeyName, *, why: Why, key: Governor = None, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Let a key count no longer. What it said up to here stays valid; what it says from here on is refused."""
    governor = read_key(key or Place(data).key("root"))
    register = asyncio.run(open_register(data))
    entry = _living(register, name)
    _refuse_beside_bus(data, entry)
    reason = kept_reason(data, register, governor, why, entry.enrolled.key_id)
    asyncio.run(govern(data, register, governor, register.revocation(entry, reason), subject=entry.enrolled.key_id))
    _tell({"revoked": entry.enrolled.key_id, "source": entry.enrolled.source}, json=json)


@app.command()
def rotate(
    name: KeyName,
    *,
    public: Public = "",
    new: New = None,
    encrypt: Encrypt = False,
    why: Why = _ROTATED,
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
    governor_of(register, governor)
    made = _next_key(file, encrypt=encrypt) if file else _made_or_named(public, new, encrypt=encrypt)
    enrolled = _enrolment(made.public_key, old.source, old.role, old.devices, is_virtual=register.is_virtual)
    enrolled = enrolled.model_copy(update={"duties": old.duties, "reads": old.reads})
    if old.assurance == GATEWAY_HELD:
        enrolled = enrolled.model_copy(update={"assurance": GATEWAY_HELD})
    reason = why if why == _ROTATED else kept_reason(data, register, governor, why, old.key_id)
    events = [*register.revocation(entry, reason), (enrolled, ())]
    made.write()
    asyncio.run(govern(data, register, governor, events, subject=old.key_id))
    if file:
        _next(file).replace(file)
    _tell({"revoked": old.key_id, "enrolled": enrolled.key_id, "source": old.source}, json=json)
    if old.role == Role.SEALER and not json:
        show.say(
            "Witnesses know the log by this key: give each of them, and whoever has a policy with `log` lines, the"
        )
        show.say(f"new lines once the bus has sealed a round: qpubus audit logs --data {data}")


def _next(file: Path) -> Path:
    return file.with_name(f"{file.name}.next")


def _next_key(file: Path, *, encrypt: bool) -> _Made:
    """A new key, to be written beside the one whose place it will take."""
    passphrase = fetch_passphrase(f"New passphrase of {file}", new=True) if encrypt or is_encrypted(file) else b""
    private = Ed25519PrivateKey.generate()
    return _Made(raw_public_key(private), partial(replace_key, _next(file), private, passphrase))


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


def _passkey(file: Path | None, site: str, source: str, relying_party: str, origin: str) -> tuple[PersonKey, str]:
    from qpubus.passkeys import read_registration  # noqa: PLC0415 (its library takes a quarter of a second)

    if file is None or not (relying_party and origin):
        raise Problem(
            "a passkey is used at one place", "Name it: --relying-party lab.example --origin https://lab.example"
        )
    return read_registration(file, site, source, relying_party, origin)


def _personal(named: PersonKey, credential: str, source: str, role: str, *, is_virtual: bool) -> KeyEnrolled:
    """A person's SSH key or passkey. An SSH key in hardware says so by its kind; nobody attests a passkey's."""
    is_hardware = named.proof_type == "sshsig" and bool(named.relying_party)
    return KeyEnrolled(
        key_id=key_id(named.public_key),
        public_key=named.public_key,
        source=source,
        role=role,
        assurance="demo" if is_virtual else "hardware" if is_hardware else "file",
        proof_type=named.proof_type,
        algorithm=named.algorithm,
        relying_party=named.relying_party,
        origin=named.origin,
        credential_id=credential,
    )


def _made_or_named(public: str, new: Path | None, *, encrypt: bool) -> _Made:
    """The public key that was named, or a new one for a file that is not there yet."""
    if bool(public) == bool(new):
        raise Problem("name either a public key with --public, or a file for a new key with --new")
    if new is None:
        return _Made(_read_public(public))
    check_new(new)
    private = Ed25519PrivateKey.generate()
    passphrase = fetch_passphrase(f"Passphrase of {new}", new=True) if encrypt else b""
    return _Made(raw_public_key(private), partial(write_key, new, private, passphrase))


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
