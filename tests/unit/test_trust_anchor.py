"""Which root key an audit goes by: the one that is named, or the one beside the log, if nothing speaks against that."""

import shutil
from pathlib import Path

import pytest

from schemas.keys import key_id
from streams.log.head import RootMemory
from tests.support.commands import Done, qpubus

DOUBTING = [["audit", "verify"], ["audit", "redecide"], ["audit", "explain", "a-job"], ["replay", "rebuild"]]
NAMES = [" ".join(command[:2]) for command in DOUBTING]


GIVING = [
    ["export", "--format", "ocsf"],
    ["report", "--from", "2020-01-01", "--to", "2050-01-01"],
    ["logs"],
    ["tiles", "--out", "public"],
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A founded site."""
    return founded(tmp_path / "data")


@pytest.fixture
def replaced(tmp_path: Path, data: Path) -> Path:
    """The same directory after another site's, root.pub and all, was put in its place; the old one is beside it."""
    other = founded(tmp_path / "other")
    data.rename(tmp_path / "old")
    other.rename(data)
    return data


def founded(directory: Path) -> Path:
    assert qpubus("init", "--data", directory).code == 0
    return directory


def root_of(directory: Path) -> str:
    return (directory / "root.pub").read_text().strip()


def verified(data: Path, *arguments: str | Path) -> Done:
    return qpubus("audit", "verify", "--json", "--data", data, *arguments)


def test_the_root_key_stands_beside_the_verdict(data: Path) -> None:
    identity = key_id(bytes.fromhex(root_of(data)))
    assert list(verified(data).json["roots"].values()) == [identity]
    assert identity in qpubus("audit", "verify", "--data", data).out.splitlines()[1]
    assert identity in qpubus("audit", "redecide", "--data", data).out
    assert identity in qpubus("replay", "rebuild", "--data", data).out


@pytest.mark.parametrize("form", ["hex", "file"])
def test_a_root_key_that_is_named_is_believed_and_no_other(tmp_path: Path, data: Path, form: str) -> None:
    other = founded(tmp_path / "other")
    shutil.copy(data / "root.pub", tmp_path / "mine.pub")
    shutil.copy(other / "root.pub", tmp_path / "theirs.pub")
    mine, theirs = (
        (root_of(data), root_of(other)) if form == "hex" else (tmp_path / "mine.pub", tmp_path / "theirs.pub")
    )
    (data / "root.pub").unlink()

    assert verified(data, "--root", mine).code == 0
    under_theirs = verified(data, "--root", theirs)
    assert under_theirs.code == 2
    assert under_theirs.json["findings"][0]["reason"] == "key_unknown"


@pytest.mark.parametrize("command", DOUBTING[1:], ids=NAMES[1:])
def test_other_doubts_go_by_a_root_key_that_is_named_too(data: Path, command: list[str]) -> None:
    root = root_of(data)
    (data / "root.pub").write_text("not a key")
    done = qpubus(*command, "--data", data, "--root", root)
    assert "root.pub" not in done.err
    assert done.code == (1 if "explain" in command else 0)


@pytest.mark.parametrize("command", GIVING, ids=lambda command: command[0])
def test_what_is_given_to_others_goes_by_a_root_key_that_is_named_too(
    data: Path, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = root_of(data)
    (data / "root.pub").write_text("not a key")
    assert "root.pub does not hold the root public key" in qpubus("audit", *command, "--data", data).err
    done = qpubus("audit", *command, "--data", data, "--root", root)
    assert "root.pub" not in done.err
    assert done.code == (1 if command[0] in {"logs", "tiles"} else 0)
    assert (done.code == 1) == ("no round of checkpoints" in done.err)


def test_nothing_is_rebuilt_by_a_root_key_that_the_log_does_not_hang_on(tmp_path: Path, data: Path) -> None:
    done = qpubus("replay", "rebuild", "--data", data, "--root", root_of(founded(tmp_path / "other")))
    assert done.code == 2
    assert "governance partition 0 offset 0" in done.err


def test_a_key_that_nobody_should_trust_is_no_root_key(data: Path) -> None:
    done = verified(data, "--root", "00" * 32)
    assert done.code == 1
    assert "00" * 32 in done.err


@pytest.mark.parametrize("root", ["zz", "no-such-file", "ab" * 31])
def test_what_is_neither_a_key_nor_a_file_is_a_mistake_in_the_command(data: Path, root: str) -> None:
    done = verified(data, "--root", root)
    assert done.code == 64
    assert "64 hex digits" in done.err


def test_a_directory_that_was_replaced_by_another_site_s_is_reported(replaced: Path) -> None:
    done = verified(replaced)
    assert (done.code, done.json["verdict"]) == (2, "tampered")
    assert [each["reason"] for each in done.json["findings"]] == ["root_replaced"]


@pytest.mark.parametrize("command", [*DOUBTING, ["jobs"], ["up"]], ids=[*NAMES, "jobs", "up"])
def test_no_command_believes_the_new_root_key_in_silence(replaced: Path, command: list[str]) -> None:
    done = qpubus(*command, "--data", replaced)
    assert done.code == (2 if command[0] in {"audit", "replay"} else 1)
    assert "is another than the one that was here before" in done.out + done.err


def test_the_other_site_s_log_is_sound_by_the_other_site_s_root_key(replaced: Path) -> None:
    assert verified(replaced, "--root", root_of(replaced)).code == 0
    assert verified(replaced, "--root", root_of(replaced.parent / "old")).code == 2


def test_without_a_memory_nothing_is_reported(replaced: Path) -> None:
    RootMemory(replaced).forget()
    assert verified(replaced).code == 0


def test_a_memory_that_is_broken_is_none(replaced: Path) -> None:
    memory = RootMemory(replaced)
    assert memory.path is not None
    memory.path.write_bytes(b"\xff\x00")
    assert verified(replaced).code == 0


def test_a_directory_founded_anew_is_remembered_anew(data: Path) -> None:
    shutil.rmtree(data)
    founded(data)
    assert verified(data).code == 0
    assert RootMemory(data).read() == bytes.fromhex(root_of(data))


def test_a_directory_by_another_name_is_the_same_one(tmp_path: Path, replaced: Path) -> None:
    (tmp_path / "link").symlink_to(replaced)
    assert verified(tmp_path / "link").code == 2


def test_a_log_brought_to_where_another_site_was_is_believed_by_the_root_it_came_with(
    tmp_path: Path, replaced: Path
) -> None:
    old = tmp_path / "old"
    shutil.rmtree(replaced)
    qpubus("log", "export", tmp_path / "lines", "--data", old)
    assert qpubus("log", "import", tmp_path / "lines", "--root", root_of(old), "--data", replaced).code == 0
    assert verified(replaced).code == 0
