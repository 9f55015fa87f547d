"""How things look: money, times, digests and untrusted text go in, calm lines come out. Programs get JSON instead."""

import sys
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import typer

_DIGEST_DIGITS = 12
_BREAKS = {"\n", "\t"}
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str, *, lines: bool = False) -> str:
    """Text that cannot steer a terminal: control, direction and unseen characters are written out as escapes.

    With `lines`, line ends and tabs stay.
    """
    return "".join(
        each if (lines and each in _BREAKS) or unicodedata.category(each) not in _UNSEEN else _escaped(each)
        for each in text
    )


def _escaped(character: str) -> str:
    if character.isascii():
        return f"\\x{ord(character):02x}"
    return character.encode("ascii", "backslashreplace").decode()


def usd(microusd: int, *, exact: bool = False) -> str:
    """Micro-dollars in dollars: to the cent from one dollar on unless it must be `exact`, else to the last place."""
    dollars, rest = divmod(abs(microusd), 1_000_000)
    if dollars and not exact:
        dollars, rest = divmod(round(abs(microusd), -4), 1_000_000)
    places = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if microusd < 0 else ''}${dollars:,}.{places}"


def utc(time_us: int) -> str:
    """A time to the second."""
    return f"{datetime.fromtimestamp(time_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}Z"


def duration(us: int) -> str:
    """A length of time in the units that people would use."""
    if us == 0:
        return "none"
    if us < 1_000:
        return f"{us} µs"
    if us < 1_000_000:
        return f"{us / 1_000:.3g} ms"
    seconds = us / 1_000_000
    if seconds < 99.5:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def short(digest: str) -> str:
    """The first digits of a digest, enough to tell two apart at a glance."""
    return digest[:_DIGEST_DIGITS]


def number(value: float, error: float | None = None) -> str:
    """A measured number, to two digits of its standard error where it has one."""
    if error is None:
        return f"{value:.6g}"
    if error <= 0:
        return f"{value:.6f}"
    places = max(0, -int(f"{error:.1e}".split("e")[1]) + 1)
    return f"{value:.{places}f} ± {error:.{places}f}"


def is_terminal() -> bool:
    """Whether a person looks at standard output."""
    return sys.stdout.isatty()


def json(document: Any) -> None:
    """Write one JSON document on one line, in UTF-8 whatever the terminal speaks; bytes are shown in hex."""
    typer.echo(json_bytes(document))


def json_with(document: Mapping[str, Any], name: str, rows: Iterable[Any]) -> None:
    """Write a JSON document, as `json` does, with one more member: an array of rows, however many they are."""
    typer.echo(json_bytes(document)[:-1] + b',"' + name.encode() + b'":[', nl=False)
    for number, row in enumerate(rows):
        typer.echo((b"," if number else b"") + json_bytes(row), nl=False)
    typer.echo(b"]}")


def json_bytes(document: Any, option: int | None = None) -> bytes:
    """A document as JSON; bytes are shown in hex."""
    return orjson.dumps(document, default=_in_json, option=option)


def _in_json(value: Any) -> Any:
    match value:
        case bytes():
            return value.hex()
        case Mapping():
            return dict(value)
        case _:
            raise TypeError


def say(text: str = "") -> None:
    """Write a line at once, whoever reads it; what could steer the terminal is escaped."""
    print(printable(text, lines=True), flush=True)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Write names and values, one pair a line; a pair without a value is left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        lines = printable(value, lines=True).splitlines()
        print(f"{name:<{width}}  {lines[0]}")
        for line in lines[1:]:
            print(f"{'':<{width}}  {line}")


def kpi(shown: Mapping[str, Any]) -> tuple[str, str, str]:
    """Value, interval and number of cases of a KPI, each as text; a dash where there is none."""
    if shown.get("value") is None:
        return "–", "–", str(shown.get("n", 0))
    low, high = shown.get("low"), shown.get("high")
    interval = "–" if low is None or high is None else f"{low:.5g} – {high:.5g}"
    return f"{shown['value']:.5g}", interval, str(shown["n"])
