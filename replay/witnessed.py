"""What witnesses have seen of a log: cosigned checkpoints go in, how far a policy's quorum reaches comes out."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from schemas.checkpoints import home_of, origin_of
from schemas.note import Checkpoint, Note, NoteInvalid, parse_checkpoint, parse_notes
from schemas.quorum import Policy, PolicyInvalid, parse_policy
from schemas.topics import TOPICS

_CHECKPOINTS = re.compile("^— ".encode(), re.MULTILINE)


class Asked(NamedTuple):
    """What an audit is asked to hold the log against: a policy, and checkpoints that witnesses themselves have kept.

    Checkpoints from the log can be left out by who writes the log; those that a witness hands out cannot.
    """

    policy: Policy
    notes: tuple[Note, ...] = ()

    def unheld(self, roots: Collection[bytes], partitions: int) -> Iterator[str]:
        """What is wrong with the checkpoints as a whole, of a log with these root keys and so many partitions."""
        trees = {origin_of(root, topic, number) for root in roots for topic in TOPICS for number in range(partitions)}
        named = {parse_checkpoint(note.text).origin for note in self.notes}
        if named and not named & trees:
            yield "no checkpoint that was given is of a tree of this log"
        homes = tuple(home_of(root) for root in roots)
        for origin in sorted(named - trees):
            if origin.startswith(homes):
                yield f"a checkpoint of {origin}: this log has no such tree"


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

    def hear(self, topic: str, note: Note) -> list[str]:
        """Take in a note; what is wrong with cosignatures on it that are said to be of the policy's witnesses."""
        names, broken = self.cosigners(note)
        self.count(topic, parse_checkpoint(note.text), names)
        return broken

    def cosigners(self, note: Note) -> tuple[set[str], list[str]]:
        """Which of the policy's witnesses have cosigned a note, and what is wrong with lines in their names.

        Each line is judged by itself, so none can take the word of another witness away.
        """
        names, broken = set[str](), list[str]()
        for line in note.signatures:
            for each in self.asked.policy.witnesses.values():
                try:
                    if Note(note.text, (line,)).signed_by(each.key):
                        names.add(each.name)
                except NoteInvalid as error:
                    broken.append(str(error))
        return names, broken

    def count(self, topic: str, checkpoint: Checkpoint, names: Collection[str]) -> None:
        """Let the word of witnesses count for the coverage of a topic."""
        size = checkpoint.size
        if names and size > self.sizes.get(topic, -1):
            cosigned = self._cosigned.setdefault((topic, size, checkpoint.root), set())
            cosigned.update(names)
            if self.asked.policy.is_met(cosigned):
                self.sizes[topic] = size
                self._cosigned = {at: held for at, held in self._cosigned.items() if at[0] != topic or at[1] > size}
