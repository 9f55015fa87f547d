"""Publishing a log: sealed rounds go in, the trees come out as C2SP tiles, and apart from them the events' segments.

Tiles, entries and checkpoints hold digests and may be read by anybody. A segment holds the events themselves, 256 a
file, one line each as in an export (`streams.log.lines`) but for the hash, which is the record's entry in its bundle.

Publishing goes on from what is published: it costs what is new. Nothing is written before the tree that is published
has been shown to grow into the tree that was sealed, as what is once written cannot be taken back.
"""

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from replay.shelves import Shelf, ShelfProblem
from schemas.admission import Stored
from schemas.checkpoints import note_of, origin_of
from schemas.events import CheckpointSealed, CheckpointWitnessed, TreeHead
from schemas.keys import raw_public_key
from schemas.merkle import Frontier, leaf_hashes, root_hash
from schemas.note import Checkpoint, Note, NoteInvalid, Signature, parse_checkpoint, parse_note
from schemas.quorum import Policy
from schemas.tiles import CHECKPOINT, WIDTH, Tile, bundle, edge_tiles, number_path
from schemas.topics import Role
from streams.log.lines import record_line
from streams.log.port import ReadableLog
from streams.reader import Reader
from streams.stage import Heard
from streams.trees import Trees, sizes_of

Entries = list[tuple[Stored, bytes]]
"""Records with their digests."""
_ROUNDS_KEPT = 512
"""So many of the last rounds are looked through for one that witnesses have cosigned."""


class Round(NamedTuple):
    """A round of checkpoints, the public key that sealed it, and by topic what witnesses have said of it."""

    sealed: CheckpointSealed
    sealer: bytes
    lines: dict[str, list[Signature]]


class Latest(NamedTuple):
    """The last rounds on a log, oldest first, the root key of their site, and trees that know all rounds."""

    rounds: tuple[Round, ...]
    root_public_key: bytes
    trees: Trees

    @property
    def sealed(self) -> CheckpointSealed:
        """The last round."""
        return self.rounds[-1].sealed

    @property
    def sealer(self) -> bytes:
        """The public key that sealed the last round."""
        return self.rounds[-1].sealer

    def note(self, round_: Round, head: TreeHead) -> Note:
        """The signed note of a head of a round, with the lines of witnesses."""
        note = note_of(origin_of(self.root_public_key, head.topic, round_.sealed.partition), head, round_.sealer)
        return note._replace(signatures=(*note.signatures, *round_.lines.get(head.topic, ())))

    def due(self, policy: Policy | None) -> Round | None:
        """The round to be published: the last that meets a policy, and None if none does.

        Without a policy it is the last that any witness has cosigned, or the last of all where none has.
        """
        if policy:
            return next((each for each in reversed(self.rounds) if self._meets(each, policy)), None)
        return next((each for each in reversed(self.rounds) if each.lines), self.rounds[-1])

    def _meets(self, round_: Round, policy: Policy) -> bool:
        """Whether enough witnesses have cosigned all its trees that are not empty, and no cosignature is broken."""
        try:
            for head in round_.sealed.heads:
                note = self.note(round_, head)
                names = {each.name for each in policy.witnesses.values() if note.signed_by(each.key)}
                if head.size and not policy.is_met(names):
                    return False
        except NoteInvalid:
            return False
        return True


async def latest_rounds(log: ReadableLog, partition: int, roots: Mapping[str, bytes]) -> Latest | None:
    """The last rounds of a partition number; None if nothing is sealed there yet."""
    trees = Trees(log, partition, roots, topics=())
    reader = Reader(log, partition, ("governance", "checkpoints"), roots)
    rounds: dict[tuple[str, int], Round] = {}
    site = ""
    while items := await reader.read():
        for item in items:
            match item:
                case Heard(event=CheckpointSealed() as sealed) if item.role == Role.SEALER:
                    site = item.site
                    key = reader.admission(site).keys[item.key_id]
                    rounds[site, sealed.round] = Round(sealed, raw_public_key(key.public_key), {})
                    trees.hear(sealed)
                    if len(rounds) > _ROUNDS_KEPT:
                        del rounds[next(iter(rounds))]
                case Heard(event=CheckpointWitnessed() as witnessed) if (item.site, witnessed.round) in rounds:
                    for each in witnessed.cosignatures:
                        lines = rounds[item.site, witnessed.round].lines.setdefault(each.topic, [])
                        line = Signature(each.witness, bytes.fromhex(each.key_id), each.signature)
                        lines += [line] if line not in lines else []
                case _:
                    pass
    if not rounds:
        return None
    found = tuple(round_ for (of, _), round_ in rounds.items() if of == site)
    await trees.learn(sizes_of(found[-1].sealed)["governance"])
    return Latest(found, roots[site], trees)


async def publish(latest: Latest, round_: Round, head: TreeHead, shelf: Shelf, segments: Shelf | None) -> int:
    """Publish the tree of one topic as a round sealed it; how many records of it are new there.

    What is published already is never made shorter. Of a tree of the same size the lines of witnesses are brought up to
    date.
    """
    note = latest.note(round_, head)
    prefix = parse_checkpoint(note.text).origin
    there = _published(shelf, prefix)
    published = parse_checkpoint(there.text) if there else Checkpoint(prefix, 0, Frontier().root())
    edges = _edges(shelf, prefix, published)
    last = next(each for each in latest.sealed.heads if each.topic == head.topic)
    await _prove(latest.trees, head if published.size <= head.size else last, published, edges)
    if published.size > head.size:
        return 0
    if there and published.size == head.size:
        note = _with_lines_of(there, note)
        if note.data != there.data:
            shelf.replace(f"{prefix}/{CHECKPOINT}", note.data)
        return 0
    growing = Growing(shelf, segments, prefix, published.size, edges)
    async for entries in _bundles(latest.trees, head, published.size - published.size % WIDTH):
        growing.take(entries)
    growing.finish()
    shelf.replace(f"{prefix}/{CHECKPOINT}", note.data)
    return head.size - published.size


def _with_lines_of(there: Note, note: Note) -> Note:
    """A note with those cosignatures of the published note of the same tree that it lacks."""
    origin = parse_checkpoint(note.text).origin
    own = {(each.name, each.key_id) for each in note.signatures}
    kept = [each for each in there.signatures if (each.name, each.key_id) not in own and each.name != origin]
    return note._replace(signatures=(*note.signatures, *kept))


def _published(shelf: Shelf, prefix: str) -> Note | None:
    """The checkpoint that is published; None if there is none."""
    data = shelf.get(f"{prefix}/{CHECKPOINT}")
    try:
        note = parse_note(data) if data else None
        if note:
            parse_checkpoint(note.text)
    except NoteInvalid as error:
        raise ShelfProblem(f"{prefix}/{CHECKPOINT} is no checkpoint of ours ({error}); publish elsewhere") from None
    return note


def _edges(shelf: Shelf, prefix: str, published: Checkpoint) -> dict[int, list[bytes]]:
    """By level, the hashes of the last tile of the published tree, where it is not full."""
    edges = {}
    for tile in edge_tiles(published.size):
        data = shelf.get(f"{prefix}/{tile.path}") or b""
        edges[tile.level] = [data[at : at + 32] for at in range(0, len(data), 32)]
        if len(data) != 32 * tile.width:
            raise ShelfProblem(f"{prefix}/{tile.path} is missing or cut; publish elsewhere")
    return edges


async def _prove(trees: Trees, head: TreeHead, published: Checkpoint, edges: Mapping[int, list[bytes]]) -> None:
    """Show that the tiles are those of the published checkpoint, and that it grows into what was sealed."""
    peaks: list[bytes] = []
    for level in sorted(edges, reverse=True):
        tile = Frontier()
        tile.extend(edges[level])
        peaks += tile.hashes
    frontier = Frontier(published.size, peaks)
    if frontier.root() != published.root:
        raise ShelfProblem(f"the tiles of {published.origin} are not those of its checkpoint; publish elsewhere")
    if published.size > head.size:
        raise ShelfProblem(
            f"{published.origin}: {published.size} records are published, and the log has sealed {head.size}: "
            "it was cut, or another log is published there"
        )
    await trees.extend(frontier, head.topic, head.size)
    if frontier.root().hex() != head.root:
        raise ShelfProblem(f"{published.origin}: what is published does not grow into what the log has sealed")


async def _bundles(trees: Trees, head: TreeHead, start: int) -> AsyncIterator[Entries]:
    """Records from the beginning of a bundle on, bundle by bundle, the last one perhaps not full."""
    waiting: Entries = []
    while start < head.size:
        entries = await trees.entries(head.topic, start, head.size)
        start += len(entries)
        waiting += entries
        while len(waiting) >= WIDTH:
            yield waiting[:WIDTH]
            waiting = waiting[WIDTH:]
    if waiting:
        yield waiting


class Growing:
    """Writes the tiles of one tree as they fill up."""

    def __init__(
        self, shelf: Shelf, segments: Shelf | None, prefix: str, size: int, edges: Mapping[int, list[bytes]]
    ) -> None:
        """`edges` are the published hashes of tiles that are not full; those of level 0 are read anew."""
        self._shelf = shelf
        self._segments = segments
        self._prefix = prefix
        self._number = size // WIDTH
        self._size = size
        self._levels = {level: list(hashes) for level, hashes in edges.items() if level}

    def take(self, entries: Entries) -> None:
        """Write a bundle with its segment, and each tile that becomes full by it."""
        digests = [digest for _, digest in entries]
        leaves = leaf_hashes(digests)
        self._put(Tile(-1, self._number, len(entries)), bundle(digests))
        self._put(Tile(0, self._number, len(entries)), b"".join(leaves))
        if self._segments:
            partial = "" if len(entries) == WIDTH else f".p/{len(entries)}"
            lines = b"".join(record_line(stored, digest) for stored, digest in entries)
            self._segments.put(f"{self._prefix}/segment/{number_path(self._number)}{partial}", lines)
        if len(entries) == WIDTH:
            self._rise(1, self._number, root_hash(leaves))
            self._number += 1

    def finish(self) -> None:
        """Write the tiles above level 0 that are not full."""
        for level, hashes in self._levels.items():
            if hashes:
                self._put(Tile(level, self._number // WIDTH**level, len(hashes)), b"".join(hashes))

    def _rise(self, level: int, number: int, hash_: bytes) -> None:
        """Take in the root of a full tile of the level below."""
        hashes = self._levels.setdefault(level, [])
        hashes.append(hash_)
        if len(hashes) == WIDTH:
            self._put(Tile(level, number // WIDTH, WIDTH), b"".join(hashes))
            self._levels[level] = []
            self._rise(level + 1, number // WIDTH, root_hash(hashes))

    def _put(self, tile: Tile, data: bytes) -> None:
        self._shelf.put(f"{self._prefix}/{tile.path}", data)
