"""Decision traces in an audit: what stands of each on the log against what its agent signed in the manifest."""

from collections.abc import Iterator
from typing import Any

from replay.verdict import Finding
from schemas.events import IntentDeclared, TraceSealed
from schemas.traces import trace_digest


class Traces:
    """What manifests name and what the gateway sealed, as far as an audit has read."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.named: set[tuple[str, str]] = set()
        self.declared: set[str] = set()
        self.sealed: list[tuple[int, str, str]] = []

    def hear(self, event: IntentDeclared | TraceSealed, offset: int) -> None:
        """Take in an event of the topic of intents."""
        if isinstance(event, IntentDeclared):
            self.declared.add(event.job_id)
            self.named.add((event.job_id, event.manifest.decision_trace_digest or ""))
        else:
            self.sealed.append((offset, event.job_id, trace_digest(event.summary, event.text_digest)))

    def state(self) -> list[Any]:
        """What is known, for `restore`."""
        return [sorted(self.named), sorted(self.declared), self.sealed]

    def restore(self, state: list[Any]) -> None:
        """Know what was known before."""
        named, declared, sealed = state
        self.named.update(map(tuple, named))
        self.declared.update(declared)
        self.sealed += map(tuple, sealed)

    def absorb(self, other: "Traces") -> None:
        """Take over what was read elsewhere."""
        self.named |= other.named
        self.declared |= other.declared
        self.sealed += other.sealed

    def findings(self, partition: int) -> Iterator[Finding]:
        """Traces that are not the one that any manifest of their job names."""
        for offset, job_id, digest in self.sealed:
            if job_id in self.declared and (job_id, digest) not in self.named:
                what = f"the decision trace of {job_id} is not the one that its agent's manifest names"
                yield Finding(1, "intents", partition, offset, "", "trace_differs", what)
