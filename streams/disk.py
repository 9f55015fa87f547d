"""How small files reach their medium, whole and durably or not at all, and how they are read.

A file is written beside its place, synced, moved there, and the move synced: a process that is killed or a machine that
loses power leaves the file of before or the new one, and at worst a stray `.NAME.….aside` that nobody reads.
"""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, NamedTuple

PRIVATE = 0o600
"""The mode of a file that is its owner's alone."""
NO_PLAIN_FILE = "this is a pipe, a device or a directory, and no plain file"
_PLAIN = 0o666


def sync_data(descriptor: int) -> None:
    """Return when the written bytes of a file are on its medium."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def sync_directory(directory: Path) -> None:
    """Return when the names of a directory are on its medium."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Disk(NamedTuple):
    """How bytes reach their medium: the VFS of SQLite, and what writes and syncs a file. Tests hand in others."""

    vfs: str | None = None
    pwrite: Callable[[int, bytes, int], int] = os.pwrite
    sync: Callable[[int], None] = sync_data


DISK = Disk()


def open_plain(path: Path) -> BinaryIO:
    """A plain file to be read; `OSError` (EINVAL) for a pipe or a device, on which opening or reading may never end."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, NO_PLAIN_FILE, str(path))


def read_small(path: Path, bytes_max: int, *, doubted: bool = False) -> bytes:
    """The bytes of a file that is no larger; `OSError` (EFBIG) for one that is, however large it says it is.

    One that is `doubted` was not named by the user but found where others may have put it, so it must be a plain file.
    """
    with open_plain(path) if doubted else path.open("rb") as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise OSError(errno.EFBIG, f"{os.strerror(errno.EFBIG)}: it has more than {bytes_max:,} bytes", str(path))
    return content


def put(path: Path, content: bytes, mode: int = _PLAIN, disk: Disk = DISK) -> None:
    """Put a file in its place, over any that is there; when this returns it outlasts a loss of power."""
    with _aside(path, mode, disk) as descriptor:
        at = 0
        while at < len(content):
            written = disk.pwrite(descriptor, content[at:], at)
            if not written:
                raise OSError(f"{path} could be written in part only")
            at += written


def sweep(path: Path) -> None:
    """Remove what killed writers have left beside a file's place. One that is at it still gets an `OSError`."""
    for aside in path.parent.glob(f".{path.name}.*.aside"):
        aside.unlink(missing_ok=True)


@contextmanager
def putting(path: Path, mode: int = _PLAIN, disk: Disk = DISK) -> Iterator[BinaryIO]:
    """A file to be written bit by bit. It is in its place when the context ends; after an error it is not there."""
    with _aside(path, mode, disk) as descriptor, os.fdopen(descriptor, "wb", closefd=False) as file:
        yield file


@contextmanager
def _aside(path: Path, mode: int, disk: Disk) -> Iterator[int]:
    """A new file beside a place, open for writing, that goes there at the end. No two writers share one."""
    aside = path.with_name(f".{path.name}.{token_hex(4)}.aside")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            yield descriptor
            disk.sync(descriptor)
        finally:
            os.close(descriptor)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync_directory(path.parent)
