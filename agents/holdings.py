"""Whose documents are whose, folded from events: who may read what lies in the artefact store.

An agent reads what it handed in and what its jobs brought about. Its jobs take in nothing of another agent's either: a
program could tell of whatever it was given. Calibrations, and what was stored for nobody in particular, are for all.
"""

from schemas.events import (
    ArtifactStored,
    DeviceSnapshotTaken,
    IntentDeclared,
    ResultRecorded,
    StepCompleted,
)
from streams.stage import Heard

EVERYBODY = ""


class Holdings:
    """By digest, the agents that may read a document."""

    def __init__(self) -> None:
        self._readers: dict[str, set[str]] = {}
        self._media_types: dict[str, str] = {}
        self._initiators: dict[str, str] = {}
        self._unowned: set[str] = set()

    def hear(self, heard: Heard) -> None:
        """Take in an event."""
        match heard.event:
            case ArtifactStored(digest=digest, media_type=media_type, owner=owner, job_id=job_id):
                self._media_types.setdefault(digest, media_type)
                self._let_job(job_id, digest)
                if owner:
                    self._let(owner, digest)
                elif not job_id:
                    self._unowned.add(digest)
            case DeviceSnapshotTaken(snapshot_digest=digest):
                self._let(EVERYBODY, digest)
            case IntentDeclared(job_id=job_id, manifest=manifest):
                self._initiators.setdefault(job_id, manifest.initiator)
            case StepCompleted(job_id=job_id, output_digest=digest):
                self._let_job(job_id, digest)
            case ResultRecorded(job_id=job_id, result_digest=digest):
                self._let_job(job_id, digest)
            case _:
                pass

    def is_stored_for(self, digest: str, owner: str) -> bool:
        """Whether the log says that a document was stored, and that it was for this agent."""
        return digest in self._media_types and (not owner or owner in self._readers.get(digest, ()))

    def media_type(self, digest: str) -> str | None:
        """What whoever stored a document called it; None where the log does not know it."""
        return self._media_types.get(digest)

    def may_read(self, agent: str, digest: str) -> bool:
        """Whether a document is this agent's, or everybody's."""
        readers = self._readers.get(digest, set())
        return agent in readers or EVERYBODY in readers

    def is_others(self, agent: str, digest: str) -> bool:
        """Whether a document is another's, so that no job of this agent may take it in."""
        return digest in self._readers and digest not in self._unowned and not self.may_read(agent, digest)

    def _let_job(self, job_id: str, digest: str) -> None:
        if digest and job_id in self._initiators:
            self._let(self._initiators[job_id], digest)

    def _let(self, agent: str, digest: str) -> None:
        self._readers.setdefault(digest, set()).add(agent)
