"""Where keys ended: whether what was signed inside of an event was signed with a key that counted there.

Agents and people write nothing on the log themselves; what they sign others carry. So a revocation cannot name the last
that still counts of theirs, and their keys end where they end for whoever has to refuse what they sign:

- what stands on governance itself, by its place there;
- what the gateway has signed with a key of its own, by what its revocation names, as its records are;
- what policy refuses (intents, grants, denials), where policy's journal says that it had read the revocation;
- what no stage refuses (withdrawals, calibrations asked for), with the first round of checkpoints that covers it.
"""

from collections import Counter
from functools import cache

from replay.inside import Fault
from replay.scan import SiteScan
from schemas.topics import Role
from streams.policy.stage import POLICY

_GOVERNANCE = "governance"


class Endings:
    """What a scan knows of the ends of a site's keys."""

    def __init__(self, scan: SiteScan) -> None:
        """The scan has read all."""
        self._scan = scan
        self._read = cache(self._read_with)
        self._sealed_with = cache(scan.checkpoints.sealed_with)

    def is_over(self, fault: Fault) -> bool:
        """Whether a key had ended for an event in which its signature stands."""
        offset, before = self._scan.revoked[fault.key_id]
        if fault.topic == _GOVERNANCE:
            return fault.place > offset
        key = self._scan.admission.keys[fault.key_id]
        if key.role == Role.GATEWAY and key.counts_to is not None:
            return fault.number > key.counts_to.get(fault.topic, 0)
        if not fault.excuse and key.role != Role.GATEWAY:
            end = self._sealed_with(offset, fault.topic)
            return end is not None and fault.place >= end
        first, last = self._read(before)
        return first is not None and first[fault.topic] <= fault.before < last[fault.topic]

    def _read_with(self, before: int) -> tuple[Counter[str] | None, Counter[str]]:
        """By topic, how many records policy had read when it read the one of governance behind so many; and in the end.

        None if it has not read that one.
        """
        read, then = Counter[str](), None
        for output in self._scan.journals.of(POLICY.source):
            for topic, count in output.runs:
                read[topic] += count
                if then is None and topic == _GOVERNANCE and read[topic] > before:
                    then = Counter(read)
        return then, read
