"""Logs of a running bus: a line for a person at a terminal, JSON lines for everybody else. Neither holds a secret.

What is logged is chosen where it is logged; what looks like a secret all the same is blotted out here.
"""

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
from opentelemetry import trace

from qpubus.show import printable

BLOT = "[secret]"
_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b[Bb]earer\s+[\w~+/.=-]+"
    r"|\beyJ[\w-]{8,}\.[\w-]*\.[\w-]+"  # a compact JWS: access tokens, assertions, agents' proofs
    r"|(?<=[\"'= :])(?:MC4CAQAwBQYDK2Vw)[\w+/=]+"  # an Ed25519 private key, DER in base64
    r"|(?i:\b(?:passphrase|password|secret|access_token|client_assertion)[\"']?\s*[=:]\s*[\"']?)[^\s\"',}]+",
    re.DOTALL,
)
_LEVEL_OF_OTHERS = logging.WARNING


def without_secrets(text: str) -> str:
    """A text in which tokens, proofs, private keys and passphrases are blotted out."""
    return _SECRETS.sub(BLOT, text)


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, the trace if there is one, and the members of `told`."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line."""
        span = trace.get_current_span().get_span_context()
        shown: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if span.is_valid:
            shown |= {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
        shown |= getattr(record, "told", {})
        if record.exc_info and record.exc_info[1]:
            shown["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        return without_secrets(orjson.dumps(shown, default=str).decode())


class PlainLines(logging.Formatter):
    """The message alone, for a person."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line that cannot steer a terminal."""
        return printable(without_secrets(record.getMessage()))


@contextmanager
def logging_to(stream: TextIO) -> Iterator[None]:
    """Send the logs of this process there while the context lasts: requests too, unless a person looks on."""
    is_terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainLines() if is_terminal else JsonLines())
    root, ours = logging.getLogger(), logging.getLogger("qpubus")
    before = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(_LEVEL_OF_OTHERS)
    ours.setLevel(logging.WARNING if is_terminal else logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])
