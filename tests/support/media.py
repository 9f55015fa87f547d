"""Disks that a test can break: one that forgets what was not synced when the power goes, one that refuses to write."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import apsw

from streams.disk import Disk, sync_data

_numbers = itertools.count()


class _File(apsw.VFSFile):
    def __init__(self, vfs: "_Vfs", name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs
        self._path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "")

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 (SQLite's name)
        self._vfs.before("write", self._path)
        super().xWrite(data, offset)
        self._vfs.wrote(self._path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 (SQLite's name)
        self._vfs.before("truncate", self._path)
        super().xTruncate(newsize)
        self._vfs.wrote(self._path, newsize, None)

    def xSync(self, flags: int) -> None:  # noqa: N802 (SQLite's name)
        self._vfs.before("sync", self._path)
        super().xSync(flags)
        self._vfs.synced(self._path)


class _Vfs(apsw.VFS):
    """SQLite's own file access, with a word to say before and after each step."""

    def __init__(self) -> None:
        self.name = f"test-{next(_numbers)}"
        super().__init__(self.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802 (SQLite's name)
        return _File(self, name, flags)

    def before(self, step: str, path: Path) -> None:
        """Hear of a step that is about to be taken; an exception prevents it."""

    def wrote(self, path: Path, offset: int, data: bytes | None) -> None:
        """Hear of a write, or of a truncation to `offset`."""

    def synced(self, path: Path) -> None:
        """Hear of a sync that has ended."""


class FailingMedium(_Vfs):
    """Raises what `failure` returns for a step ("write", "truncate", "sync") and a path; None lets the step pass."""

    def __init__(self, failure: Callable[[str, Path], Exception | None] = lambda _step, _path: None) -> None:
        super().__init__()
        self.failure = failure

    def before(self, step: str, path: Path) -> None:
        if error := self.failure(step, path):
            raise error


class ForgetfulMedium(_Vfs):
    """Knows of every file what is durable and what was written since, and can show what a power cut would leave.

    At the steps numbered in `cuts` it calls `cut` with the files as they would be: all that was synced, and of the
    writes since then any, torn or whole, as `random` has it.
    """

    def __init__(self, random: Random, cut: Callable[[dict[str, bytes]], None], cuts: frozenset[int]) -> None:
        super().__init__()
        self.steps = 0
        self._random = random
        self._cut = cut
        self._cuts = cuts
        self._durable: dict[Path, bytes] = {}
        self._pending: dict[Path, list[tuple[int, bytes | None]]] = {}
        self._head = Path()

    def disk(self, head: Path) -> Disk:
        """What an EmbeddedLog takes, with its head on this medium too."""
        self._head = head
        return Disk(self.name, self._pwrite, self._sync)

    def before(self, step: str, path: Path) -> None:  # noqa: ARG002 (each step counts alike)
        self.steps += 1
        if path not in self._durable:
            self._durable[path] = path.read_bytes() if path.exists() else b""
            self._pending[path] = []
        if self.steps in self._cuts:
            self._cut({file.name: bytes(self._remains(file)) for file in self._durable})

    def wrote(self, path: Path, offset: int, data: bytes | None) -> None:
        self._pending[path].append((offset, data))

    def synced(self, path: Path) -> None:
        image = bytearray(self._durable[path])
        for offset, data in self._pending[path]:
            _apply(image, offset, data)
        self._durable[path] = bytes(image)
        self._pending[path] = []

    def _remains(self, path: Path) -> bytearray:
        image = bytearray(self._durable[path])
        for offset, data in self._pending[path]:
            if self._random.random() < 0.5:
                torn = data is not None and self._random.random() < 0.1
                _apply(image, offset, data[: len(data) // 2] if torn and data else data)
        return image

    def _pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        self.before("write", self._head)
        written = os.pwrite(descriptor, data, offset)
        self.wrote(self._head, offset, data)
        return written

    def _sync(self, descriptor: int) -> None:
        self.before("sync", self._head)
        sync_data(descriptor)
        self.synced(self._head)


def _apply(image: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del image[offset:]
        return
    image.extend(bytes(max(0, offset - len(image))))
    image[offset : offset + len(data)] = data


def flipped(data: bytes, random: Random) -> Iterator[bytes]:
    """The same bytes with one bit changed, again and again at another place."""
    while True:
        at = random.randrange(len(data))
        yield data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
