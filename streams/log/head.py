"""The head of the embedded log, kept outside its database: for each topic-partition how many records and their chain.

    qpubus head 1 <log id> <generation> <lines>
    intents 0 17 9f…e1
    <SHA-256 of the above in hex>

The file `head` holds two such texts in slots of one size and the newer one counts, so a write cut short costs nothing.
It is written after each commit and before the acknowledgement. The memory is the same text in the user's state
directory: it notices when the whole data directory, head included, is replaced by an older copy. Beside it lies, for
each data directory, the root key of its site: it notices when the directory is replaced by another site's.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from streams.disk import Disk, put, read_small
from streams.log.port import LogCorrupt, LogError

_BLOCK = 4_096
_LINE_MAX = 64 + 6 + 14 + 64 + 4
_READS_MAX = 5
_BYTES_MAX = 1 << 26
"""More than twice the head of a hundred thousand topic-partitions; what is larger is no head."""


class Tip(NamedTuple):
    """The end of a topic-partition: how many records it has and the chain of the last."""

    size: int
    chain: bytes


Tips = Mapping[tuple[str, int], Tip]


class Head(NamedTuple):
    """The ends of all topic-partitions that hold records."""

    log_id: str
    generation: int
    tips: Tips


def tip_line(topic: str, partition: int, tip: Tip) -> str:
    """The line of a topic-partition."""
    return f"{topic} {partition} {tip.size} {tip.chain.hex()}"


def head_text(log_id: str, generation: int, lines: list[str]) -> bytes:
    """A head as it is stored."""
    text = "\n".join((f"qpubus head 1 {log_id} {generation} {len(lines)}", *lines, "")).encode()
    return text + sha256(text).hexdigest().encode() + b"\n"


def parse_head(data: bytes) -> Head | None:
    """The head at the beginning of `data`; None if there is no whole one."""
    first, _, rest = data.partition(b"\n")
    words = first.split(b" ")
    if words[:3] != [b"qpubus", b"head", b"1"] or len(words) != 6 or not (words[4].isdigit() and words[5].isdigit()):
        return None
    lines = rest.split(b"\n", int(words[5]) + 1) if int(words[5]) < len(rest) else []
    if len(lines) != int(words[5]) + 2:
        return None
    text = b"".join(line + b"\n" for line in (first, *lines[:-2]))
    if lines[-2] != sha256(text).hexdigest().encode():
        return None
    tips = {}
    for line in lines[:-2]:
        topic, partition, size, chain = line.decode().split(" ")
        tips[topic, int(partition)] = Tip(int(size), bytes.fromhex(chain))
    return Head(words[3].decode(), int(words[4]), tips)


def slot_bytes(topic_partitions: int) -> int:
    """The size of a slot that any head of so many topic-partitions fits in."""
    return -(-(256 + topic_partitions * _LINE_MAX) // _BLOCK) * _BLOCK


class HeadFile:
    """The file `head`, open for writing by the one process that holds the log's lock."""

    def __init__(self, path: Path, slot: int, disk: Disk) -> None:
        """`slot` is the size of each of the two slots."""
        self._slot = slot
        self._disk = disk
        self._descriptor = os.open(path, os.O_RDWR)

    @staticmethod
    def make(path: Path, slot: int, head: bytes) -> None:
        """Put a new file in the place of any before it, both slots with the same head."""
        put(path, 2 * head.ljust(slot, b"\n"))

    def write(self, generation: int, head: bytes) -> None:
        """Store a head durably; `OSError` leaves the one before it in its slot."""
        if self._disk.pwrite(self._descriptor, head, generation % 2 * self._slot) != len(head):
            raise OSError("the head was written in part")
        self._disk.sync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def read_head(path: Path, log_id: str) -> Head:
    """The newer of the heads in the file `head`; `LogCorrupt` if there is none of this log."""
    for _ in range(_READS_MAX):  # whoever writes it may be half way through a slot, never through both
        try:
            data = read_small(path, _BYTES_MAX, doubted=True)
        except FileNotFoundError:
            raise LogCorrupt(f"{path} is missing, so nothing shows where the log ended; restore it") from None
        except OSError as error:
            raise LogError(f"cannot read {path}: {error.strerror}") from None
        half = len(data) // 2
        heads = [head for part in (data[:half], data[half:]) if (head := parse_head(part)) and head.log_id == log_id]
        if heads:
            return max(heads, key=lambda head: head.generation)
    raise LogCorrupt(f"{path} holds no whole head of this log, so nothing shows where the log ended; restore it")


class Memory:
    """What this user's account remembers of a log's head."""

    def __init__(self, log_id: str) -> None:
        """Find the place; there may be none, as for an account without a home."""
        self.path = remembered("heads", log_id)

    def read(self) -> Tips:
        """What is remembered; nothing if there is no memory or it is not whole."""
        if self.path is None:
            return {}
        try:
            head = parse_head(self.path.read_bytes())
        except OSError:
            return {}
        return head.tips if head and head.log_id == self.path.name else {}

    def write(self, head: bytes) -> None:
        """Remember a head. A memory that cannot be written is as good as none, and no reason to stop."""
        _remember(self.path, head)


class RootMemory:
    """What this user's account remembers of the root key of the site in a data directory, by the directory's path."""

    def __init__(self, directory: Path) -> None:
        """Find the place; there may be none."""
        self._directory = os.path.realpath(directory)
        self.path = remembered("roots", sha256(os.fsencode(self._directory)).hexdigest()[:32])

    def read(self) -> bytes | None:
        """The root public key that is remembered; None if there is no memory or it is not whole."""
        try:
            root, _, directory = self.path.read_text().partition(" ") if self.path else ("", "", "")
            return bytes.fromhex(root) if directory == f"{self._directory}\n" else None
        except (OSError, ValueError):
            return None

    def write(self, root_public_key: bytes) -> None:
        """Remember the root of a site that was founded, brought here or opened."""
        _remember(self.path, f"{root_public_key.hex()} {self._directory}\n".encode())

    def forget(self) -> None:
        """Remember nothing of this directory: a log is made there anew."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def doubt(self, root_public_key: bytes) -> str:
        """What speaks against believing that this is the directory's root key; empty if nothing does."""
        known = self.read()
        if known is None or known == root_public_key:
            return ""
        return (
            f"root.pub in {self._directory} is another than the one that was here before: another site's directory was "
            "put in its place, or its trust anchor was replaced. Bring the old one back, or name the root key that you "
            f"trust with --root; to accept the new one for good, remove {self.path}"
        )


def remembered(kind: str, name: str) -> Path | None:
    """Where this account remembers something; nowhere for an account without a home."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    except RuntimeError:
        return None
    return Path(state) / "qpubus" / kind / name


def _remember(path: Path | None, content: bytes) -> None:
    if path is None:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path, content)
