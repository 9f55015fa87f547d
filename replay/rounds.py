"""The rounds of one sealer, kept beside an audit: of each topic every size that was sealed, with its root."""

import struct
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from itertools import takewhile
from typing import IO, NamedTuple

from replay.index import Index, Rows
from replay.verdict import Finding, about
from schemas.admission import Stored
from schemas.checkpoints import Sizes, Vocabulary
from schemas.events import CheckpointSealed, TreeHead

_FORM = struct.Struct(">QQQ32s")
_IN_MEMORY_BYTES = 1 << 20
RECENT = 4_096
"""Cosignatures may name so many rounds, the last ones; a witness answers within a few."""


class Sealed(NamedTuple):
    """A tree as a round sealed it; the round stands on the log at `offset`."""

    size: int
    round: int
    offset: int
    root: bytes


class Rounds:
    """Takes in rounds in their order, and says what is wrong with the order."""

    def __init__(self, site: str, public_key: bytes, partition: int, index: Index, recent_max: int) -> None:
        """The last `recent_max` rounds are kept whole, for cosignatures that name them."""
        self.site = site
        self.public_key = public_key
        self.last: CheckpointSealed | None = None
        self.findings = Rows(index, Finding._fields, Finding._make)
        self._partition = partition
        self._files: dict[str, IO[bytes]] = {}
        self._recent_max = recent_max
        self._recent: OrderedDict[int, CheckpointSealed] = OrderedDict()
        self._steps: list[Sizes] = []

    def take(self, sealed: CheckpointSealed, stored: Stored) -> None:
        """Take in a round."""
        before = {head.topic: head for head in self.last.heads} if self.last else {}
        number = self.last.round + 1 if self.last else 1
        if sealed.round != number:
            what = f"round {sealed.round} stands where round {number} is due"
            self.findings.append(about(stored, "checkpoint_gap", what, rank=1, is_missing=sealed.round > number))
        if fault := self._fault(sealed, before):
            self.findings.append(about(stored, "checkpoint_malformed", fault, rank=1))
            return
        for head in sealed.heads:
            known = before.get(head.topic)
            if known is None or (known.size, known.root) != (head.size, head.root):
                self._write(head, sealed.round, stored.offset)
            if head.topic == "governance" and (known is None or head.size > known.size):
                self._steps += [{topic: each.size for topic, each in before.items()}, _sizes(sealed)]
        self.last = sealed
        self._recent[sealed.round] = sealed
        if len(self._recent) > self._recent_max:
            self._recent.popitem(last=False)

    def teach(self, vocabulary: Vocabulary) -> None:
        """Tell a vocabulary the rounds that matter to it: those in which governance had grown, and the last."""
        for sizes in self._steps:
            vocabulary.seal(sizes)
        if self.last:
            vocabulary.seal(_sizes(self.last))

    def head(self, number: int, topic: str) -> TreeHead | None:
        """The head of a tree in a recent round."""
        sealed = self._recent.get(number)
        return next((head for head in sealed.heads if head.topic == topic), None) if sealed else None

    def with_governance(self, offset: int, topic: str) -> int | None:
        """How far the first round goes in a topic that covers this place in governance; None if no round does."""
        covering = next((each.round for each in self.of("governance") if each.size > offset), None)
        if covering is None:
            return None
        return max((each.size for each in takewhile(lambda each: each.round <= covering, self.of(topic))), default=0)

    def of(self, topic: str) -> Iterator[Sealed]:
        """Every size at which the tree of a topic was sealed, in order."""
        file = self._files.get(topic)
        if file is None:
            return
        file.seek(0)
        while data := file.read(_FORM.size):
            yield Sealed(*_FORM.unpack(data))

    def close(self) -> None:
        """Give the files back."""
        for file in self._files.values():
            file.close()

    def _fault(self, sealed: CheckpointSealed, before: dict[str, TreeHead]) -> str:
        heads = {head.topic: head for head in sealed.heads}
        if sealed.partition != self._partition:
            return f"round {sealed.round} is of partition {sealed.partition}"
        if len(heads) < len(sealed.heads) or before.keys() - heads.keys():
            return f"round {sealed.round} names a topic twice or leaves one out"
        shrunk = [topic for topic, head in before.items() if heads[topic].size < head.size]
        return f"by round {sealed.round} the tree of {shrunk[0]} has shrunk" if shrunk else ""

    def _write(self, head: TreeHead, number: int, offset: int) -> None:
        file = self._files.get(head.topic)
        if file is None:
            file = self._files[head.topic] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 (`close` closes it)
        file.write(_FORM.pack(head.size, number, offset, bytes.fromhex(head.root)))


def _sizes(sealed: CheckpointSealed) -> Sizes:
    return {head.topic: head.size for head in sealed.heads}
