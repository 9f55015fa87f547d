"""Witnesses for tests: real rules over a directory, called without a network, and the policy that names them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.witness.store import WitnessStore
from agents.witness.submission import Answer
from agents.witness.witness import OriginUnknown, ProofBroken, Refusal, SizeConflict, Witness
from replay.witnessed import Asked
from schemas.checkpoints import origin_of
from schemas.keys import raw_public_key
from schemas.note import Kind, NoteKey, parse_notes
from schemas.quorum import Policy, parse_policy
from schemas.topics import TOPICS
from tests.support.sealing import Sealing

NOW_S = 1_800_000_000
URL = "http://w{}.example"


def witness_of(directory: Path, number: int, logs: Sequence[NoteKey]) -> Witness:
    """A witness over a directory, with a key that follows from its number."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    return Witness(f"w{number}.example", key, logs, WitnessStore(directory), lambda: NOW_S)


def logs_of(town: Sealing) -> list[NoteKey]:
    """The keys of all trees of a town."""
    sealer = raw_public_key(town.scene.keys["sealer:main"])
    return [NoteKey(origin_of(town.scene.root, topic, 0), Kind.TEXT, sealer) for topic in TOPICS]


@dataclass
class Witnesses:
    """Some witnesses of a town. `send` brings a request to the one whose address it names, unless it is `away`."""

    town: Sealing
    directory: Path
    count: int = 1
    least: int = 1
    away: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        folders = [(number, self.directory / f"w{number}") for number in range(1, self.count + 1)]
        self.all = {number: witness_of(folder, number, logs_of(self.town)) for number, folder in folders}

    @property
    def policy(self) -> Policy:
        """So many of them are enough."""
        lines = [f"witness W{number} {each.key.text} {URL.format(number)}" for number, each in self.all.items()]
        names = " ".join(f"W{number}" for number in self.all)
        return parse_policy("\n".join([*lines, f"group G {self.least} {names}", "quorum G\n"]).encode())

    def asked(self, *kept_by: int) -> Asked:
        """What an auditor asks: the policy, and what some of the witnesses have kept."""
        notes = [note for number in kept_by for note in parse_notes(self.all[number].store.all())]
        return Asked(self.policy, tuple(notes))

    async def send(self, url: str, data: bytes) -> Answer | None:
        """As a network would."""
        number = next(number for number in self.all if url == f"{URL.format(number)}/add-checkpoint")
        if number in self.away:
            return None
        try:
            return Answer(200, self.all[number].add_checkpoint(data).encode())
        except SizeConflict as conflict:
            return Answer(409, f"{conflict.size}\n".encode())
        except ProofBroken:
            return Answer(422, b"")
        except OriginUnknown:
            return Answer(404, b"")
        except Refusal:
            return Answer(400, b"")
