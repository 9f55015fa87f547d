"""Asking witnesses: a party that brings each round to the witnesses of a policy and puts their answers on the log."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from logging import getLogger
from typing import ClassVar, NamedTuple

import aiohttp

from agents.drafts import draft
from agents.party import Clock, Membership, Party
from agents.witness.witness import request_of
from schemas.checkpoints import note_of, origin_of
from schemas.events import CheckpointSealed, CheckpointWitnessed, Cosignature, TreeHead
from schemas.keys import raw_public_key
from schemas.merkle import Frontier, consistency_proof
from schemas.note import Note, NoteInvalid, parse_signature
from schemas.quorum import Witness
from schemas.topics import Role
from streams.log.port import Log, LogCorrupt, LogIncomplete, partition_of
from streams.stage import Heard
from streams.trees import Trees, sizes_of

RETRY_US = 10_000_000
TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 1 << 16
_OK, _CONFLICT, _BROKEN = 200, 409, 422
_BODY_CHARS_SHOWN = 200
_ADVICE = {
    403: "; give it the new lines of `qpubus audit logs`: the sealer's key was rotated, or it watches another log",
    404: "; give it the lines of `qpubus audit logs`",
}
"""What to do about a witness that answers so, behind what it says itself."""

_log = getLogger("qpubus.witness")


class Answer(NamedTuple):
    """What a witness answered."""

    status: int
    body: bytes


Post = Callable[[str, bytes], Awaitable[Answer | None]]
"""Sends a request to an address; None if nobody answered."""


class Courier:
    """Brings requests to witnesses over HTTP. Its connections stay open from round to round."""

    def __init__(self) -> None:
        """A session is opened with the first request."""
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, url: str, data: bytes) -> Answer | None:
        """Send a request."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        try:
            async with self._session.post(url, data=data) as answer:
                return Answer(answer.status, await answer.content.read(ANSWER_BYTES_MAX))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


@dataclass
class Asking:
    """A witness, by topic the tree that it cosigned last, as far as is known here, and when to ask it again."""

    witness: Witness
    frontiers: dict[str, Frontier] = field(default_factory=dict)
    round: int = 0
    retry_us: int = 0
    told: str = ""

    def tell(self, what: str) -> None:
        """Tell the operator what keeps the witness from cosigning, or by an empty text that nothing does: each once."""
        if what != self.told:
            _log.warning("witness %s %s", self.witness.key.name, what or "cosigns again")
        self.told = what


class Submission(Party):
    """Submits the latest round. What a witness says that this log is not the one it knows, is not passed over."""

    topics: ClassVar[tuple[str, ...]] = ("governance", "checkpoints")

    def __init__(
        self, membership: Membership, log: Log, clock: Clock, witnesses: Sequence[Witness], send: Post | None = None
    ) -> None:
        """Witnesses without a URL cannot be asked and are passed over. Without `send` they are asked over HTTP."""
        super().__init__(membership, log, clock)
        self._root = membership.root_public_key
        self._partition = partition_of(self.site.encode(), log.partitions)
        self._trees = Trees(log, self._partition, {self.site: self._root}, topics=())
        self._asked = [Asking(witness) for witness in witnesses if witness.url]
        self._courier = Courier()
        self._send = send or self._courier
        self._latest: tuple[CheckpointSealed, Heard, bytes] | None = None

    def hear(self, heard: Heard) -> None:
        """Take in a round, or that a witness has seen one."""
        match heard.event:
            case CheckpointSealed() as sealed if heard.role == Role.SEALER:
                key = self._reader.admission(self.site).keys[heard.key_id]
                self._latest = (sealed, heard, raw_public_key(key.public_key))
                self._trees.hear(sealed)
            case CheckpointWitnessed() as witnessed if heard.source == self.source:
                names = {cosignature.witness for cosignature in witnessed.cosignatures}
                for asking in self._asked:
                    if asking.witness.key.name in names:
                        asking.round = witnessed.round
            case _:
                pass

    async def work(self) -> bool:
        """Ask every witness that has not seen the latest round."""
        if self._latest is None:
            return False
        now_us = self.clock.now_us()
        waiting = [each for each in self._behind() if each.retry_us <= now_us]
        if not waiting:
            return False
        sealed, heard, sealer = self._latest
        await self._trees.learn(sizes_of(sealed)["governance"])
        said = []
        for asking, cosignatures in zip(
            waiting, await asyncio.gather(*(self._ask(each, sealed, sealer) for each in waiting)), strict=True
        ):
            if cosignatures:
                asking.tell("")
                event = CheckpointWitnessed(
                    round=sealed.round, partition=self._partition, cosignatures=tuple(cosignatures)
                )
                said.append(draft(event, now_us, heard, subject=self.site))
            else:
                asking.retry_us = now_us + RETRY_US
        if said:
            await self.say(*said)
        return bool(said)

    async def close(self) -> None:
        """Close the connections to witnesses."""
        await self._courier.close()

    def next_due_us(self) -> int | None:
        """When a witness that did not answer is asked again."""
        return min((each.retry_us for each in self._behind()), default=None)

    def _behind(self) -> list[Asking]:
        """The witnesses that have not seen the latest round."""
        last = self._latest[0].round if self._latest else 0
        return [each for each in self._asked if each.round < last]

    async def _ask(self, asking: Asking, sealed: CheckpointSealed, sealer: bytes) -> list[Cosignature]:
        """The cosignatures of a witness on all trees of a round; none if it does not answer for one of them."""
        cosignatures = []
        for head in sealed.heads:
            if head.size:
                cosignature = await self._cosignature(asking, head, sealer)
                if cosignature is None:
                    return []
                cosignatures.append(cosignature)
        return cosignatures

    async def _cosignature(self, asking: Asking, head: TreeHead, sealer: bytes) -> Cosignature | None:
        origin = origin_of(self._root, head.topic, self._partition)
        note = note_of(origin, head, sealer)
        answer = await self._submit(asking, head, note)
        if answer and answer.status == _CONFLICT:
            await self._go_to(asking, head, answer)
            answer = await self._submit(asking, head, note)
        if answer and answer.status in {_CONFLICT, _BROKEN}:
            raise LogCorrupt(
                f"{head.topic} partition {self._partition} offset {head.size - 1}: this record, or one before it, "
                f"is not what the witness {asking.witness.key.name} has cosigned"
            )
        if answer is None or answer.status != _OK:
            asking.tell(_refusal(answer) if answer else f"does not answer at {asking.witness.url}")
            return None
        await self._trees.extend(asking.frontiers[head.topic], head.topic, head.size)
        held = self._held(asking.witness, head.topic, note, answer.body)
        if held is None:
            asking.tell("answers with a cosignature that is not by its key in the policy; look at its `witness` line")
        return held

    async def _submit(self, asking: Asking, head: TreeHead, note: Note) -> Answer | None:
        before = asking.frontiers.setdefault(head.topic, Frontier())
        leaves: list[bytes] = []
        while before.size and before.size + len(leaves) < head.size:
            leaves += await self._trees.leaves(head.topic, before.size + len(leaves), head.size)
        request = request_of(before.size, consistency_proof(before, leaves), note)
        return await self._send(f"{asking.witness.url.rstrip('/')}/add-checkpoint", request.data)

    async def _go_to(self, asking: Asking, head: TreeHead, answer: Answer) -> None:
        """Stand where the witness says that it stands."""
        text = answer.body.strip()
        size = int(text) if text.isdigit() and len(text) < 20 else 0
        if size > head.size:
            raise LogIncomplete(
                f"{head.topic} partition {self._partition} offset {head.size}: the witness "
                f"{asking.witness.key.name} has cosigned {size} records, and {head.size} are left"
            )
        if size < asking.frontiers[head.topic].size:
            asking.frontiers[head.topic] = Frontier()
        await self._trees.extend(asking.frontiers[head.topic], head.topic, size)

    def _held(self, witness: Witness, topic: str, note: Note, body: bytes) -> Cosignature | None:
        """The cosignature in an answer, if it is this witness's and holds."""
        try:
            lines = [parse_signature(line) for line in body.decode().splitlines()]
            signature = Note(note.text, tuple(lines)).signed_by(witness.key)
        except (NoteInvalid, UnicodeDecodeError):
            return None
        if signature is None:
            return None
        return Cosignature(
            topic=topic,
            witness=signature.name,
            key_id=signature.key_id.hex(),
            signature=signature.signature,
        )


def _refusal(answer: Answer) -> str:
    """What a witness says that does not cosign, in one line."""
    body = " ".join(answer.body.decode(errors="replace").split())[:_BODY_CHARS_SHOWN]
    return f"answers {answer.status}: {body or 'nothing'}{_ADVICE.get(answer.status, '')}"
