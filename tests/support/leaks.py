"""Where a text that was erased might still stand: in files, in base64, in all that can be exported of a job."""

import base64
from pathlib import Path

from replay import standalone
from tests.support.commands import qpubus


def in_base64(text: bytes) -> list[bytes]:
    """How a text looks within base64, where what stands before it may end at any of three places."""
    return [base64.b64encode(bytes(before) + text)[4 * bool(before) : -4] for before in range(3)]


def files_with(text: bytes, *places: Path) -> list[Path]:
    """The files in which a text stands."""
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    return [file for file in files if file.is_file() and text in file.read_bytes()]


def exported(data: Path, job: str, out: Path) -> None:
    """Write to a new directory all that commands export of a log and a job; bundles of it must be sound."""
    out.mkdir()
    assert qpubus("log", "export", out / "log", "--data", data).code == 0
    assert qpubus("audit", "export", "--format", "ocsf", "-o", out / "ocsf", "--data", data).code == 0
    for name in ("prov", "intoto"):
        done = qpubus("audit", "export", "--format", name, "--job", job, "-o", out / name, "--data", data)
        assert done.code == 0
    for name, options in (("bundle", []), ("redacted", ["--redact"])):
        assert qpubus("audit", "bundle", job, "-o", out / name, "--data", data, *options).code == 0
        assert standalone.verify((out / name).read_bytes()).verdict == standalone.SOUND
    published = ("--out", out / "tiles", "--segments", out / "segments")
    assert qpubus("audit", "tiles", *published, "--data", data).code == 0
    (out / "report").write_text(
        qpubus("audit", "report", "--from", "2020-01-01", "--to", "2050-01-01", "--data", data).out
    )
    (out / "page").write_text(qpubus("audit", "explain", job, "--html", "--data", data).out)
