"""What this account remembers of an audit that ended sound, so that the next audit may go on from there.

The file lies in the user's state directory under a name that follows from the path of the data directory, never in the
directory itself. It has, one after the other:

    parts       the leaf hashes of each topic, the digests of each author's events in a topic: 32 bytes each; the rows
                of each table of the scans, a line of JSON each: journals of stages, jobs, what was refused
    a document  JSON: where each topic ended, with its running hash; what scans know besides; what the parts are of
    its length  8 bytes, big-endian
    a digest    SHA-256 of all before it

Who goes on from it trusts this account and the code of that audit, and nothing in the doubted directory: the running
hashes are made again from the stored bytes of every row, so an old record that is another by now is found, and then, as
whenever old verdicts may have changed, all is audited anew. Only seals, causes and bodies of old records are not judged
again. Governance and checkpoints always are.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from replay.checkpoints import Checkpoints
from replay.crew import ALONE
from replay.index import Row
from replay.scan import SiteScan
from replay.verdict import Audit, Finding
from schemas.envelope import Record
from schemas.events import KeyRevoked
from schemas.words import wire_name
from streams.disk import PRIVATE, putting
from streams.log.head import Tip, remembered
from streams.log.port import LogError
from streams.log.reading import EmbeddedReader

_LENGTH_BYTES, _DIGEST_BYTES = 8, 32
_CHUNK = 1 << 20
_IN_MEMORY_BYTES = 1 << 20
_DIGESTS_A_CHUNK = 1 << 13
_REVOKED = wire_name(KeyRevoked)

Scans = Mapping[str, SiteScan]


class Memory(NamedTuple):
    """Where an audit is remembered, and whether the next one goes on from there."""

    path: Path
    resumes: bool = False


def memory_of(directory: Path, *, resumes: bool = False) -> Memory | None:
    """This account's memory of the audits of a data directory; None for an account without a home."""
    path = remembered("audits", sha256(bytes(directory.resolve())).hexdigest()[:32])
    return Memory(path, resumes) if path else None


@cache
def code_digest() -> str:
    """SHA-256 of the code that judges: what another release found sound this one audits for itself."""
    packages = (Path(__file__).parents[1] / name for name in ("schemas", "streams", "replay"))
    sources = sorted(source for package in packages for source in package.rglob("*.py"))
    return sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


class Earlier:
    """An audit that is remembered."""

    def __init__(self, path: Path, file: BinaryIO, document: dict[str, Any]) -> None:
        self.path = path
        self._file = file
        self._said = document
        self.tips = {
            (str(topic), int(partition)): Tip(int(size), bytes.fromhex(after))
            for topic, partition, size, after in document["tips"]
        }
        self.records = sum(tip.size for tip in self.tips.values())
        self.rounds = int(document["rounds"])

    @classmethod
    def read(cls, path: Path | None) -> "Earlier | None":
        """What is remembered; None if nothing is, or no whole file."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            if path and (document := _document(path)):
                return cls(path, path.open("rb"), document)
        return None

    def is_of(self, log: EmbeddedReader, roots: Mapping[str, bytes], *, by_another_name: bool = False) -> bool:
        """Whether it is of this log, or of a log by another name, with the same root keys of its sites."""
        is_named_so = bool(self._said["log_id"] == log.log_id)
        return is_named_so != by_another_name and bool(self._said["roots"] == _hex(roots))

    def behind(self, log: EmbeddedReader, hashed: Callable[[str, int, int], bytes]) -> list[Finding]:
        """Where the log does not begin as it did then; `hashed` tells its running hash after so many records."""
        return [each for tip in self.tips.items() if (each := self._fault(log, *tip, hashed))]

    def hindrance(self, log: EmbeddedReader) -> str:
        """Why old verdicts may be others by now, so that all has to be read; empty if they stand."""
        if self._said["code"] != code_digest():
            return "it was made by another release"
        for partition, sites in self._said["sites"].items():
            start = self.starts(int(partition)).get("governance", 0)
            try:
                grown = list(log.rows("governance", int(partition), start, hashed=False))
            except LogError:
                return "governance cannot be read on from there"
            if any(isinstance(each.record, Record) and each.record.type == _REVOKED for each in grown):
                return "a key was revoked since, and what it had said may count no more"
            if grown and any(site["refused"] for site in sites.values()):
                return "records were refused, and governance has grown since"
        return ""

    def starts(self, partition: int) -> dict[str, int]:
        """For each topic the place where it ended."""
        return {topic: tip.size for (topic, number), tip in self.tips.items() if number == partition}

    def restore(self, partition: int, scans: Scans, checkpoints: Checkpoints) -> None:
        """Let scans and trees stand where they stood then, but for the topics that are read again."""
        for site, state in self._said["sites"].get(str(partition), {}).items():
            scans[site].restore(state)
        at = 0
        for number, kind, site, source, name, size in self._said["parts"]:
            self._file.seek(at)
            at += size
            if number == partition and kind == "rows":
                scans[site].take_lasting(name, self._rows(at))
                continue
            for done in range(0, size if number == partition else 0, _CHUNK):
                data = self._file.read(min(_CHUNK, size - done))
                if kind == "leaves":
                    checkpoints.leaves.add(name, data)
                else:
                    scans[site].said.add(source, name, done // _DIGEST_BYTES + 1, data)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _rows(self, end: int) -> Iterator[Row]:
        """The rows from where the file stands up to a place."""
        while self._file.tell() < end:
            yield tuple(orjson.loads(self._file.readline()))

    def _fault(
        self, log: EmbeddedReader, line: tuple[str, int], tip: Tip, hashed: Callable[[str, int, int], bytes]
    ) -> Finding | None:
        topic, partition = line
        is_there = topic in log.topics and partition < log.partitions
        size = log.tip(topic, partition).size if is_there else 0
        after = f"; to accept the log as it is now, remove {self.path}"
        if size < tip.size:
            what = f"an earlier audit found {tip.size} records, and {size} are left{after}"
            return Finding(0, topic, partition, size, "", "record_missing", what, is_missing=True)
        if hashed(topic, partition, tip.size) != tip.chain:
            what = f"this record, or one before it, is another than an earlier audit found{after}"
            return Finding(0, topic, partition, tip.size - 1, "", "record_changed", what)
        return None


class Keeping:
    """Collects during an audit what the next one may go on from."""

    def __init__(self, log: EmbeddedReader, roots: Mapping[str, bytes]) -> None:
        self._log, self._roots = log, roots
        self._parts: list[tuple[int, str, str, str, str, int]] = []
        self._sites: dict[int, dict[str, Any]] = {}
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 (`close` closes it)

    def add(self, partition: int, scans: Scans, checkpoints: Checkpoints) -> None:
        """Take in what is known of a partition number."""
        for topic in checkpoints.leaves.counts.keys() - ALONE:
            self._write((partition, "leaves", "", "", topic), map(b"".join, checkpoints.leaves.read(topic)))
        for site, scan in scans.items():
            for source, topic, last in scan.said.lines():
                if topic not in ALONE:
                    firsts = range(1, last + 1, _DIGESTS_A_CHUNK)
                    chunks = (scan.said.digests(source, topic, at, at + _DIGESTS_A_CHUNK - 1) for at in firsts)
                    self._write((partition, "said", site, source, topic), chunks)
            for name, rows in scan.lasting(ALONE):
                self._write((partition, "rows", site, "", name), (orjson.dumps(row) + b"\n" for row in rows))
        self._sites[partition] = {site: scan.state(ALONE) for site, scan in scans.items()}

    def keep(self, path: Path, audit: Audit) -> None:
        """Put the file in its place. One that cannot be written is as good as none, and no reason to stop."""
        lines = [(topic, number) for topic in self._log.topics for number in range(self._log.partitions)]
        tips = [(*line, *self._log.tip(*line)) for line in lines]
        document = orjson.dumps(
            {
                "code": code_digest(),
                "log_id": self._log.log_id,
                "roots": _hex(self._roots),
                "rounds": audit.rounds,
                "tips": [(*place, size, after.hex()) for *place, size, after in tips if size],
                "sites": {str(number): sites for number, sites in self._sites.items()},
                "parts": self._parts,
            }
        )
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with putting(path, PRIVATE) as file:
                digest = sha256()
                for data in chain(self._chunks(), (document, len(document).to_bytes(_LENGTH_BYTES, "big"))):
                    digest.update(data)
                    file.write(data)
                file.write(digest.digest())

    def close(self) -> None:
        """Give the temporary file back."""
        self._file.close()

    def _write(self, of: tuple[int, str, str, str, str], chunks: Iterable[bytes]) -> None:
        self._parts.append((*of, sum(map(self._file.write, chunks))))

    def _chunks(self) -> Iterator[bytes]:
        self._file.seek(0)
        while data := self._file.read(_CHUNK):
            yield data


def _document(path: Path) -> dict[str, Any] | None:
    """The document in a whole file."""
    end, digest = path.stat().st_size - _DIGEST_BYTES, sha256()
    with path.open("rb") as file:
        for at in range(0, end, _CHUNK):
            digest.update(file.read(min(_CHUNK, end - at)))
        if end < _LENGTH_BYTES or file.read() != digest.digest():
            return None
        file.seek(end - _LENGTH_BYTES)
        size = int.from_bytes(file.read(_LENGTH_BYTES), "big")
        file.seek(end - _LENGTH_BYTES - size)
        document: dict[str, Any] = orjson.loads(file.read(size))
    return document


def _hex(roots: Mapping[str, bytes]) -> dict[str, str]:
    return {site: root.hex() for site, root in roots.items()}
