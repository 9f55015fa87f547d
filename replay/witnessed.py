"""What witnesses have seen of a log: cosigned checkpoints go in, how far a policy's quorum reaches comes out."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from schemas.note import Checkpoint, Note, parse_checkpoint, parse_notes
from schemas.quorum import Policy, PolicyInvalid, parse_policy

_CHECKPOINTS = re.compile("^— ".encode(), re.MULTILINE)


class Asked(NamedTuple):
    """What an audit is asked to hold the log against: a policy, and checkpoints that witnesses themselves have kept.

    Checkpoints from the log can be left out by who writes the log; those that a witness hands out cannot.
    """

    policy: Policy
    notes: tuple[Note, ...] = ()


def read_asked(files: Sequence[bytes]) -> Asked:
    """What files hold: one a policy, the others checkpoints as `GET /checkpoints` of a witness gives them.

    `PolicyInvalid` or `NoteInvalid` for anything else.
    """
    policies, notes = [], []
    for data in files:
        if _CHECKPOINTS.search(data):
            notes += parse_notes(data)
        else:
            policies.append(parse_policy(data))
    if len(policies) != 1:
        raise PolicyInvalid(f"one file must be a policy, and {len(policies)} are")
    return Asked(policies[0], tuple(notes))


class Coverage:
    """By topic of one partition number, the largest tree that enough witnesses have cosigned."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.sizes: dict[str, int] = {}
        self._cosigned: dict[tuple[str, int, bytes], set[str]] = {}

    def hear(self, topic: str, note: Note) -> int:
        """Take in a note; how many cosignatures on it are of the policy's witnesses. `NoteInvalid` if one is broken."""
        policy = self.asked.policy
        names = {each.name for each in policy.witnesses.values() if note.signed_by(each.key)}
        _, size, root = parse_checkpoint(note.text)
        if names and size > self.sizes.get(topic, -1):
            cosigned = self._cosigned.setdefault((topic, size, root), set())
            cosigned |= names
            if policy.is_met(cosigned):
                self.sizes[topic] = size
                self._cosigned = {at: held for at, held in self._cosigned.items() if at[0] != topic or at[1] > size}
        return len(names)

    def kept(self, origins: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Checkpoint]]:
        """The checkpoints that witnesses have kept of these (topic, origin), each of them heard and cosigned."""
        topics = {origin: topic for topic, origin in origins}
        for note in self.asked.notes:
            checkpoint = parse_checkpoint(note.text)
            topic = topics.get(checkpoint.origin)
            if topic is not None and self.hear(topic, note):
                yield topic, checkpoint
