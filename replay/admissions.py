"""Admissions in an audit: each has the grants that it names, and rests on nothing that policy has refused.

By which rules policy admitted `audit redecide` decides again; here the log is held against what else it says.
"""

from collections.abc import Iterator

from replay.index import Index, Rows, Texts
from replay.verdict import Finding
from schemas.admission import Admitted
from schemas.events import ApprovalGranted, ApprovalRejected, IntentAdmitted, IntentRefused

_REFUSALS = {"intents": IntentRefused.__name__, "approvals": ApprovalRejected.__name__}
"""By the topic of an event what policy says if it does not count."""
_CONTRADICTED = {
    IntentRefused.__name__: ("intent_refused", "policy admits an intent that it also refused"),
    ApprovalRejected.__name__: ("grant_rejected", "policy admits an intent by a grant that it also rejected"),
}
"""Reason and detail, by what policy said."""


class Admissions:
    """What a site's admissions rest on, as far as an audit has read."""

    def __init__(self, index: Index) -> None:
        """Nothing is known yet.

        `granted` are pairs of intent and approver of grants that hold, `named` those that admissions name, and `used`
        has by its digest each event that an admission rests on.
        """
        self.granted = Texts(index)
        self.named = Rows[tuple[str, str, int]](index, ("intent_digest", "approver", "place"), tuple)
        self.used = Rows[tuple[str, str, int]](index, ("digest", "refusal", "place"), tuple, is_looked_up=True)

    def grant(self, granted: ApprovalGranted) -> None:
        """Take in a grant that holds."""
        self.granted.add(_pair(granted.intent_digest, granted.approver))

    def hear(self, event: IntentAdmitted, admitted: Admitted) -> None:
        """Take in an admission."""
        place = admitted.stored.offset
        for approver in dict.fromkeys((*event.approvers, *([event.approver] if event.approver else ()))):
            self.named.append((event.intent_digest, approver, place))
        used = {(cause.digest, _REFUSALS[cause.topic]) for cause in admitted.causes if cause.topic in _REFUSALS}
        for digest, refusal in sorted(used | {(event.intent_digest, IntentRefused.__name__)}):
            self.used.append((digest, refusal, place))

    def rest_on(self, digest: str) -> bool:
        """Whether any of them rests on the event of this digest."""
        return bool(self.used.of(digest))

    def findings(self, partition: int, refused: Texts) -> Iterator[Finding]:
        """Admissions that rest on what policy also refused, and such as name a grant that is not there.

        `refused` has the digests of what was refused, each with the event by which policy said so.
        """
        for text in refused:
            digest, _, refusal = text.partition(" ")
            for _, refused_by, place in self.used.of(digest):
                if refused_by == refusal:
                    yield Finding(1, "approvals", partition, place, "", *_CONTRADICTED[refusal])
        for intent_digest, approver, place in self.named:
            if _pair(intent_digest, approver) not in self.granted:
                what = f"the grant of {approver} is not there"
                yield Finding(1, "approvals", partition, place, "", "grant_absent", what, is_missing=True)


def _pair(intent_digest: str, approver: str) -> str:
    return f"{intent_digest} {approver}"
