"""Whom to believe that a log has one history only: a policy as C2SP tlog-policy has it.

    log qpubus/0f4b1c…9e/intents/0+33d7b496+AeHqjq3r… https://log.example.com/intents
    witness W1 witness.example.com/w1+5f3a11c2+BHX0… https://witness.example.com/w1
    witness W2 witness.example.org/w2+9e6a0b77+BKnc…
    witness W3 witness.example.net/w3+0c1d2e3f+BPq8…
    group two-of-three 2 W1 W2 W3
    quorum two-of-three

Without a `log` line the logs are those that the reader knows from elsewhere. Our logs are all trees of one sealer: its
key may stand there for one of them or, as `qpubus audit logs` prints it, for each; either way it counts for all. The
key of a witness may not, or one witness could be two of a quorum.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from schemas.note import Kind, NoteInvalid, NoteKey, parse_key

POLICY_BYTES_MAX = 1 << 20
NONE = "none"
_ALLOWED = re.compile(rb"[\t\n\x20-\x7e\x80-\xff]*\Z")
_COUNT = re.compile(r"[1-9][0-9]{0,5}\Z")


class PolicyInvalid(ValueError):
    """A policy that is not in the form above; the message names the line."""


class Witness(NamedTuple):
    """A witness under its name in the policy; without a URL nothing can be submitted to it."""

    name: str
    key: NoteKey
    url: str = ""


class Group(NamedTuple):
    """Has witnessed a checkpoint if at least `least` of its members have."""

    least: int
    members: tuple[str, ...]


class Policy(NamedTuple):
    """Logs, witnesses by name, groups by name, and the witness or group whose word is enough."""

    logs: tuple[NoteKey, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str

    def is_met(self, cosigned: Collection[str]) -> bool:
        """Whether the witnesses of these names are enough."""
        return self.quorum == NONE or self._has_witnessed(self.quorum, cosigned)

    def _has_witnessed(self, name: str, cosigned: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in cosigned
        return sum(self._has_witnessed(member, cosigned) for member in group.members) >= group.least


def parse_policy(data: bytes) -> Policy:
    """A policy from the bytes of its file; `PolicyInvalid` says what is wrong in which line."""
    if len(data) > POLICY_BYTES_MAX or not _ALLOWED.match(data):
        raise PolicyInvalid("a policy is a text without control characters, of a megabyte at most")
    reading = _Reading()
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = [word for word in re.split("[ \t]+", line) if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            reading.take(words)
        except (PolicyInvalid, NoteInvalid) as error:
            raise PolicyInvalid(f"line {number}: {error}") from None
    if reading.quorum is None:
        raise PolicyInvalid("there is no quorum line")
    return Policy(tuple(reading.logs), reading.witnesses, reading.groups, reading.quorum)


class _Reading:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self.logs: list[NoteKey] = []
        self.witnesses: dict[str, Witness] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self._members: set[str] = set()

    def take(self, words: Sequence[str]) -> None:
        """Take in the words of a line."""
        match words:
            case ["log", key, *url] if len(url) <= 1:
                self.logs.append(self._new_key(key, Kind.TEXT, self.logs))
            case ["witness", name, key, *url] if len(url) <= 1:
                witness = Witness(self._new(name), self._new_key(key, Kind.COSIGNATURE, ()), "".join(url))
                if any(each.key.public_key == witness.key.public_key for each in self.witnesses.values()):
                    raise PolicyInvalid(f"the key of {witness.key.name} is listed already")
                self.witnesses[name] = witness
            case ["group", name, least, *members] if members:
                self._check_members(members)
                self.groups[self._new(name)] = Group(_least(least, len(members)), tuple(members))
                self._members.update(members)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise PolicyInvalid("there is a quorum line already")
                if name != NONE:
                    self._known(name)
                self.quorum = name
            case _:
                raise PolicyInvalid(f"not a log, witness, group or quorum line: {' '.join(words)[:80]!r}")

    def _new(self, name: str) -> str:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise PolicyInvalid(f"the name {name!r} is taken")
        return name

    def _known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise PolicyInvalid(f"no line before this one defines {name!r}")

    def _check_members(self, members: Sequence[str]) -> None:
        for member in members:
            self._known(member)
            if member in self._members or members.count(member) > 1:
                raise PolicyInvalid(f"{member!r} is a member already")

    def _new_key(self, text: str, kind: Kind, known: Collection[NoteKey]) -> NoteKey:
        key = parse_key(text)
        if key.kind is not kind:
            raise PolicyInvalid(f"the key of {key.name} is of another kind")
        if key in known:
            raise PolicyInvalid(f"the key of {key.name} is listed already")
        return key


def _least(text: str, members: int) -> int:
    named: Mapping[str, int] = {"any": 1, "all": members}
    least = named.get(text) or (int(text) if _COUNT.match(text) else 0)
    if not 1 <= least <= members:
        raise PolicyInvalid(f"a group needs `any`, `all` or a number from 1 to {members}, not {text[:20]!r}")
    return least
