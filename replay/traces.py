"""Decision traces in an audit: what stands of each on the log against what its agent signed in the manifest."""

from collections.abc import Iterator

from replay.index import Index, Rows, Texts
from replay.verdict import Finding
from schemas.events import IntentDeclared, TraceSealed
from schemas.traces import trace_digest

_FIELDS = ("place", "job_id", "digest")


class Traces:
    """What manifests name and what the gateway sealed, as far as an audit has read."""

    def __init__(self, index: Index) -> None:
        """Nothing is known yet; `declared` are the jobs."""
        self.named = Texts(index)
        self.declared = Texts(index)
        self.sealed = Rows[tuple[int, str, str]](index, _FIELDS, tuple)

    def hear(self, event: IntentDeclared | TraceSealed, offset: int) -> None:
        """Take in an event of the topic of intents."""
        if isinstance(event, IntentDeclared):
            self.declared.add(event.job_id)
            self.named.add(_named(event.job_id, event.manifest.decision_trace_digest or ""))
        else:
            self.sealed.append((offset, event.job_id, trace_digest(event.summary, event.text_digest)))

    def findings(self, partition: int) -> Iterator[Finding]:
        """Traces that are not the one that any manifest of their job names."""
        for offset, job_id, digest in self.sealed:
            if job_id in self.declared and _named(job_id, digest) not in self.named:
                what = f"the decision trace of {job_id} is not the one that its agent's manifest names"
                yield Finding(1, "intents", partition, offset, "", "trace_differs", what)


def _named(job_id: str, digest: str) -> str:
    return f"{digest} {job_id}"
