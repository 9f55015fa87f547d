"""Files are put in their places whole and durably, or not at all."""

import os
from pathlib import Path
from stat import S_IMODE

import pytest

from streams.disk import PRIVATE, Disk, put, putting, sweep


def test_a_file_is_put_over_the_one_before(tmp_path: Path) -> None:
    put(tmp_path / "file", b"old")
    put(tmp_path / "file", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"new")]


def test_a_file_that_could_not_be_written_leaves_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    def full(*_: object) -> int:
        raise OSError("no room")

    put(tmp_path / "file", b"old")
    with pytest.raises(OSError, match="no room"):
        put(tmp_path / "file", b"new", disk=Disk(pwrite=full))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_a_file_that_is_not_on_its_medium_is_not_put_in_its_place(tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise OSError("no medium")

    with pytest.raises(OSError, match="no medium"):
        put(tmp_path / "file", b"new", disk=Disk(sync=fail))
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_left_is_swept_away_and_who_still_writes_is_told(tmp_path: Path) -> None:
    put(tmp_path / "file", b"old")
    (tmp_path / ".file.0badcafe.aside").write_bytes(b"half of")
    (tmp_path / ".another.0badcafe.aside").write_bytes(b"not ours")
    with pytest.raises(FileNotFoundError):
        put(tmp_path / "file", b"new", disk=Disk(sync=lambda _: sweep(tmp_path / "file")))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "file": b"old",
        ".another.0badcafe.aside": b"not ours",
    }


def test_a_medium_that_takes_little_at_a_time_gets_all_of_it(tmp_path: Path) -> None:
    put(tmp_path / "file", b"abcdefg", disk=Disk(pwrite=lambda file, data, at: os.pwrite(file, data[:2], at)))
    assert (tmp_path / "file").read_bytes() == b"abcdefg"


def test_a_medium_that_takes_nothing_more_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="in part only"):
        put(tmp_path / "file", b"abc", disk=Disk(pwrite=lambda *_: 0))


def test_a_private_file_is_its_owners_alone_from_its_first_byte(tmp_path: Path) -> None:
    modes = []

    def write(file: int, data: bytes, at: int) -> int:
        modes.append(S_IMODE(os.fstat(file).st_mode))
        return os.pwrite(file, data, at)

    put(tmp_path / "file", b"secret", PRIVATE, Disk(pwrite=write))
    assert [*modes, S_IMODE((tmp_path / "file").stat().st_mode)] == [0o600, 0o600]


def test_two_who_write_one_file_leave_one_of_both(tmp_path: Path) -> None:
    with putting(tmp_path / "file") as one, putting(tmp_path / "file") as other:
        one.write(b"one")
        other.write(b"other")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"one"]


def test_who_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with putting(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == []
