"""A manifest as a file: it is read and checked, and the documents beside it are found."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, ValidationError

from agents.artifacts import ARTIFACT_BYTES_MAX
from agents.client import Document, RequestingAgent
from qpubus.problem import Problem, validation_text
from schemas.digests import sha256_hex
from schemas.manifest import MANIFEST_BYTES_MAX, Manifest, signed_payload
from schemas.traces import SUMMARY_CHARS_MAX, TEXT_BYTES_MAX, DecisionTrace, SealedTrace, seal_trace
from schemas.words import Identifier

_MEDIA_TYPES = {".py": "text/x-python", ".json": "application/json", ".qasm": "text/x-qasm"}


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A manifest, and the text in which it was written."""

    path: Path
    text: str
    manifest: Manifest


def read_manifest(path: Path) -> ManifestFile:
    """The manifest in a file; `Problem` says what is wrong with it and where."""
    content = _read(path, MANIFEST_BYTES_MAX, "manifest_oversized")
    try:
        return ManifestFile(path, content.decode(), Manifest.model_validate_json(content))
    except UnicodeDecodeError:
        raise Problem(f"{path} is not a text in UTF-8", "Name a manifest in JSON.", code="manifest_malformed") from None
    except ValidationError as error:
        raise Problem(
            f"{path}: {validation_text(error)}",
            "Mend it; examples/h2-vqe.json in a data directory is one that works.",
            code="manifest_malformed",
        ) from None


class TraceFile(DecisionTrace):
    """A decision trace as an agent writes it: the full text, one sentence for everybody, whose the text is."""

    said: Annotated[str, StringConstraints(max_length=SUMMARY_CHARS_MAX)] = ""
    subject: Identifier | None = None


def read_trace(path: Path, manifest: Manifest, agent: RequestingAgent) -> SealedTrace:
    """The decision trace in a file, sealed by its agent for this job; kept under the agent's name if under no other."""
    try:
        file = TraceFile.model_validate_json(_read(path, 2 * TEXT_BYTES_MAX, "trace_oversized"))
    except ValidationError as error:
        raise Problem(f"{path}: {validation_text(error)}", "Mend it.", code="trace_malformed") from None
    trace = DecisionTrace(**{name: getattr(file, name) for name in DecisionTrace.model_fields})
    return seal_trace(trace, file.said, file.subject or manifest.initiator, manifest.job_id, agent.key)


def with_trace(file: ManifestFile, sealed: SealedTrace) -> ManifestFile:
    """The manifest that names this trace; one that names another is a `Problem`."""
    named = file.manifest.decision_trace_digest
    if named not in (None, sealed.digest):
        raise Problem(
            f"{file.path} names another decision trace than this one, {sealed.digest}",
            "Leave decision_trace_digest out of the manifest: it is filled in.",
            code="trace_mismatch",
        )
    manifest = file.manifest.model_copy(update={"decision_trace_digest": sealed.digest})
    return ManifestFile(file.path, signed_payload(manifest).decode(), manifest)


def documents_beside(file: ManifestFile) -> Iterator[Document]:
    """The documents that a manifest names and that lie beside it; one whose digest differs is a `Problem`.

    Only plain file names are looked for, so a manifest from elsewhere reaches nothing outside its own directory.
    """
    for name, digest in sorted(file.manifest.artifacts.items()):
        path = file.path.parent / name
        if Path(name).name != name or not path.is_file():
            continue
        content = _read(path, ARTIFACT_BYTES_MAX, "artifact_oversized")
        found = sha256_hex(content)
        if found != digest:
            raise Problem(
                f"{path} has the SHA-256 {found}, but {file.path} names {digest}",
                "Put the digest of the file you mean into the manifest's artifacts.",
                code="artifact_differs",
            )
        yield Document(name, content, _MEDIA_TYPES.get(path.suffix, "application/octet-stream"))


def _read(path: Path, bytes_max: int, code: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}", "Check the path and its permissions.") from None
    if len(content) > bytes_max:
        raise Problem(f"{path} is larger than {bytes_max:,} bytes", "Make it smaller, or split it.", code=code)
    return content
