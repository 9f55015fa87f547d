"""Options that several commands share."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qpubus.problem import Problem
from schemas.keys import KeyInvalid, check_public_key, key_id
from streams.disk import read_small

_IS_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_KEY_FILE_BYTES_MAX = 1 << 10
DEFAULT_DATA = Path("qpubus-data")
DEFAULT_BROKER = Path("qpubus-kafka")


class EngineName(StrEnum):
    """Where a site's log is."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"


Data = Annotated[
    Path, typer.Option("--data", metavar="DIR", envvar="QPUBUS_DATA", help="The data directory.", show_default=True)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Root = Annotated[
    str | None,
    typer.Option("--root", metavar="HEX|FILE", help="The site's root public key or root.pub, from whom you trust."),
]
Roots = Mapping[str, bytes]
"""The root public key of each site."""
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
Key = Annotated[
    Path,
    typer.Option("--key", metavar="FILE", help="Your private key (PEM, mode 0600). It is read here and sent nowhere."),
]

Governor = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The root's or an admin's private key; DIR/keys/root.pem if none."),
]

SignKey = Annotated[
    Path,
    typer.Option(
        "--key",
        metavar="FILE",
        help="What you sign with: your private key (PEM or OpenSSH), or the .pub of one that an agent or a security "
        "key holds. It is sent nowhere.",
    ),
]

Kafka = Annotated[
    Path | None,
    typer.Option(
        "--kafka",
        metavar="FILE",
        help="A principal's access (NAME.properties): read the log there, with no data directory.",
    ),
]


SiteRoots = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="HEX|FILE",
        help="The site's root public key or root.pub, from whom you trust; once for each site of a shared log.",
    ),
]


def trusted_roots(roots: Sequence[str] | None) -> list[bytes]:
    """The root public keys that were named."""
    return [key for each in roots or () if (key := trusted_root(each))]


def trusted_root(root: str | None) -> bytes | None:
    """The root public key that was named, in hex or by a file that holds it; None if none was."""
    if root is None:
        return None
    if not _IS_HEX_KEY.fullmatch(root) and not Path(root).exists():
        what = f"{root!r} is neither a root public key (64 hex digits) nor a file that holds one"
        raise typer.BadParameter(what, param_hint="--root")
    try:
        public_key = bytes.fromhex(
            root if _IS_HEX_KEY.fullmatch(root) else read_small(Path(root), 1 << 10).decode().strip()
        )
        check_public_key(public_key)
    except FileNotFoundError:
        raise Problem(
            f"{root[:80]} is neither a root public key in hex nor a file that holds one", "Name the site's root.pub."
        ) from None
    except (UnicodeDecodeError, ValueError, KeyInvalid):
        raise Problem(f"{root} does not hold a root public key in hex", "Name the site's root.pub.") from None
    return public_key


def roots_text(roots: Roots) -> str:
    """By which root keys something was verified."""
    return ", ".join(f"root key {key_id(root)} of {site}" for site, root in sorted(roots.items()))
