"""Publishing: what lies in the directory or bucket is a tiled log, and it only ever grows."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from agents.witness.submission import Submission
from replay.publishing import latest_rounds, publish
from replay.shelves import DirectoryShelf, LockedBucket, Shelf, ShelfProblem
from schemas.checkpoints import origin_of
from schemas.envelope import Record
from schemas.merkle import leaf_hash, root_hash
from schemas.note import Note, parse_checkpoint, parse_note
from schemas.tiles import Tile
from tests.support.memory_log import MemoryLog
from tests.support.publishing import publish_alarms, publish_sealed_alarms
from tests.support.scene import SITE
from tests.support.sealing import Sealing, in_memory
from tests.support.witnesses import Witnesses


class Counting:
    """A shelf over another that tells what was put."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.written: list[str] = []

    def get(self, path: str) -> bytes | None:
        return self.shelf.get(path)

    def put(self, path: str, data: bytes) -> None:
        if self.shelf.get(path) is None:
            self.written.append(path.partition("alarms/0/")[2])
        self.shelf.put(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self.shelf.replace(path, data)


async def told(count: int) -> Sealing:
    town = await in_memory()
    await town.alarm(count)
    return town


def prefix(town: Sealing) -> str:
    return origin_of(town.scene.root, "alarms", 0)


def hashes(directory: Path, town: Sealing, tile: Tile) -> list[bytes]:
    data = (directory / prefix(town) / tile.path).read_bytes()
    return [data[at : at + 32] for at in range(0, len(data), 32)]


async def test_the_tiles_of_level_0_hold_the_leaves(tmp_path: Path) -> None:
    town = await told(300)
    await publish_alarms(town, DirectoryShelf(tmp_path))
    leaves = hashes(tmp_path, town, Tile(0, 0, 256)) + hashes(tmp_path, town, Tile(0, 1, 44))
    assert leaves == [leaf_hash(digest) for digest in await town.digests("alarms")]


async def test_a_tile_of_level_1_holds_the_roots_of_full_tiles(tmp_path: Path) -> None:
    town = await told(600)
    await publish_alarms(town, DirectoryShelf(tmp_path))
    below = [hashes(tmp_path, town, Tile(0, number, 256)) for number in (0, 1)]
    assert hashes(tmp_path, town, Tile(1, 0, 2)) == [root_hash(leaves) for leaves in below]


async def test_the_checkpoint_is_that_of_the_tiles(tmp_path: Path) -> None:
    town = await told(300)
    await publish_alarms(town, DirectoryShelf(tmp_path))
    note = parse_note((tmp_path / prefix(town) / "checkpoint").read_bytes())
    leaves = [leaf_hash(digest) for digest in await town.digests("alarms")]
    assert parse_checkpoint(note.text) == (prefix(town), 300, root_hash(leaves))


async def test_entries_are_digests_after_their_length(tmp_path: Path) -> None:
    town = await told(3)
    await publish_alarms(town, DirectoryShelf(tmp_path))
    data = (tmp_path / prefix(town) / "tile/entries/000.p/3").read_bytes()
    assert data == b"".join(b"\x00\x20" + digest for digest in await town.digests("alarms"))


async def test_segments_lie_apart_and_name_the_entry_of_each_event(tmp_path: Path) -> None:
    town = await told(3)
    await publish_alarms(town, DirectoryShelf(tmp_path / "public"), DirectoryShelf(tmp_path / "private"))
    lines = (tmp_path / "private" / prefix(town) / "segment/000.p/3").read_bytes().splitlines()
    assert [orjson.loads(line)["hash"] for line in lines] == [each.hex() for each in await town.digests("alarms")]


async def test_nothing_public_holds_the_bytes_of_an_event(tmp_path: Path) -> None:
    town = await told(3)
    await publish_alarms(town, DirectoryShelf(tmp_path / "public"), DirectoryShelf(tmp_path / "private"))
    [stored, *_] = await town.log.read("alarms", 0, 0, 1)
    files = [path.read_bytes() for path in (tmp_path / "public").rglob("*") if path.is_file()]
    assert files
    assert isinstance(stored.record, Record)
    assert not any(stored.record.value[5:] in data for data in files)


@pytest.mark.parametrize("counts", [(300, 1), (250, 6), (256, 256), (1, 700)], ids=str)
async def test_publishing_in_portions_publishes_the_same(counts: tuple[int, int], tmp_path: Path) -> None:
    town = await told(counts[0])
    await publish_alarms(town, DirectoryShelf(tmp_path / "grown"))
    await town.alarm(counts[1])
    await town.budget()
    await publish_alarms(town, DirectoryShelf(tmp_path / "grown"))
    await publish_alarms(town, DirectoryShelf(tmp_path / "at once"))
    at_once = {path.relative_to(tmp_path / "at once"): path for path in (tmp_path / "at once").rglob("*")}
    differ = [name for name, path in at_once.items() if path.is_file() and not same(path, tmp_path / "grown" / name)]
    assert at_once
    assert differ == []


def same(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()


async def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    town = await told(1_000)
    shelf = Counting(DirectoryShelf(tmp_path))
    await publish_alarms(town, shelf)
    shelf.written.clear()
    await town.alarm()
    await town.budget()
    assert await publish_alarms(town, shelf) == 1
    assert shelf.written == ["tile/entries/003.p/233", "tile/0/003.p/233"]


async def test_a_log_that_was_cut_is_not_published_again(tmp_path: Path) -> None:
    await publish_alarms(town := await told(5), DirectoryShelf(tmp_path))
    assert isinstance(town.log, MemoryLog)
    town.log._records["alarms", 0].pop()
    town.log._records["checkpoints", 0].clear()
    with pytest.raises(ShelfProblem, match="5 records are published, and the log has sealed 4"):
        await publish_alarms(town, DirectoryShelf(tmp_path))


async def test_a_log_that_was_rewritten_is_not_published_again(tmp_path: Path) -> None:
    await publish_alarms(town := await told(5), DirectoryShelf(tmp_path))
    assert isinstance(town.log, MemoryLog)
    line = town.log._records["alarms", 0]
    line[0], line[1] = line[1], line[0]
    town.log._records["checkpoints", 0].clear()
    await town.alarm()
    with pytest.raises(ShelfProblem, match="does not grow into"):
        await publish_alarms(town, DirectoryShelf(tmp_path))


async def test_tiles_that_were_changed_are_not_built_upon(tmp_path: Path) -> None:
    await publish_alarms(town := await told(5), DirectoryShelf(tmp_path))
    (tmp_path / prefix(town) / "tile/0/000.p/5").write_bytes(bytes(160))
    await town.alarm()
    await town.budget()
    with pytest.raises(ShelfProblem, match="not those of its checkpoint"):
        await publish_alarms(town, DirectoryShelf(tmp_path))


def test_what_was_published_is_never_overwritten(tmp_path: Path) -> None:
    shelf = DirectoryShelf(tmp_path)
    shelf.put("a/b", b"one")
    with pytest.raises(ShelfProblem, match="other bytes"):
        shelf.put("a/b", b"two")


def files_below(directory: Path) -> list[str]:
    return [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": s3,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    name = f"log-{sha256(str(id(monkeypatch)).encode()).hexdigest()[:12]}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


async def test_a_bucket_holds_what_a_directory_does(bucket: str, tmp_path: Path) -> None:
    town = await told(300)
    await publish_alarms(town, DirectoryShelf(tmp_path))
    await publish_alarms(town, LockedBucket(bucket, "logs", 1))
    listed = boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert sorted(each["Key"] for each in listed) == sorted(f"logs/{name}" for name in files_below(tmp_path))


async def test_publishing_to_a_bucket_goes_on(bucket: str) -> None:
    town = await told(300)
    await publish_alarms(town, LockedBucket(bucket, "", 1))
    await town.alarm(20)
    await town.budget()
    assert await publish_alarms(town, LockedBucket(bucket, "", 1)) == 20


def test_nobody_removes_an_object_from_a_locked_bucket(bucket: str) -> None:
    LockedBucket(bucket, "", 1).put("a", b"one")
    client = boto3.client("s3")
    [version] = client.list_object_versions(Bucket=bucket)["Versions"]
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=bucket, Key="a", VersionId=version["VersionId"])


def test_an_object_is_locked_for_as_long_as_asked(bucket: str) -> None:
    LockedBucket(bucket, "", 30).put("a", b"one")
    head = boto3.client("s3").head_object(Bucket=bucket, Key="a")
    days = (head["ObjectLockRetainUntilDate"] - head["LastModified"]).total_seconds() / 86_400
    assert (head["ObjectLockMode"], round(days)) == ("COMPLIANCE", 30)


def test_an_object_is_not_put_twice_with_other_bytes(bucket: str) -> None:
    shelf = LockedBucket(bucket, "", 1)
    shelf.put("a", b"one")
    shelf.put("a", b"one")
    with pytest.raises(ShelfProblem, match="other bytes"):
        shelf.put("a", b"two")


def test_a_bucket_that_locks_nothing_is_refused(bucket: str) -> None:
    boto3.client("s3").create_bucket(Bucket=f"{bucket}-open")
    with pytest.raises(ShelfProblem, match="Object Lock"):
        LockedBucket(f"{bucket}-open", "", 1)


async def bring(town: Sealing, witnesses: Witnesses) -> None:
    """Seal what is there, and bring the round to the witnesses that are not away."""
    await town.sealer().finish()
    policy = list(witnesses.policy.witnesses.values())
    await Submission(town.member("witness:main"), town.log, town.clock, policy, witnesses.send).step()


def published(directory: Path, town: Sealing) -> Note:
    return parse_note((directory / prefix(town) / "checkpoint").read_bytes())


def cosigned_by(directory: Path, town: Sealing, witnesses: Witnesses) -> set[str]:
    """Whose cosignatures stand on the published checkpoint, and hold."""
    note = published(directory, town)
    return {each.name for each in witnesses.policy.witnesses.values() if note.signed_by(each.key)}


async def test_what_witnesses_have_cosigned_is_published_with_their_lines(tmp_path: Path) -> None:
    town = await told(3)
    witnesses = Witnesses(town, tmp_path / "witnesses", count=2, least=2)
    await bring(town, witnesses)
    await publish_sealed_alarms(town, DirectoryShelf(tmp_path / "public"))
    assert witnesses.policy.is_met(cosigned_by(tmp_path / "public", town, witnesses))


async def test_a_round_that_no_witness_has_seen_waits_where_witnesses_are_in_use(tmp_path: Path) -> None:
    town = await told(3)
    await bring(town, Witnesses(town, tmp_path / "witnesses"))
    await town.alarm()
    await town.budget()
    await town.sealer().finish()
    await publish_sealed_alarms(town, DirectoryShelf(tmp_path / "public"))
    assert parse_checkpoint(published(tmp_path / "public", town).text).size == 3


async def test_a_cosignature_that_came_after_publishing_is_published_too(tmp_path: Path) -> None:
    town = await told(3)
    witnesses = Witnesses(town, tmp_path / "witnesses", count=2, away={1, 2})
    await bring(town, witnesses)
    await publish_sealed_alarms(town, DirectoryShelf(tmp_path / "public"))
    before = cosigned_by(tmp_path / "public", town, witnesses)
    witnesses.away = {2}
    await bring(town, witnesses)
    await publish_sealed_alarms(town, DirectoryShelf(tmp_path / "public"))
    assert (before, cosigned_by(tmp_path / "public", town, witnesses)) == (set(), {"W1"})


async def test_a_tree_that_did_not_grow_keeps_the_lines_that_it_had(tmp_path: Path) -> None:
    town = await told(3)
    witnesses = Witnesses(town, tmp_path / "witnesses", count=2)
    await bring(town, witnesses)
    await publish_sealed_alarms(town, DirectoryShelf(tmp_path / "public"))
    await town.budget()
    witnesses.away = {2}
    await bring(town, witnesses)
    await publish_sealed_alarms(town, DirectoryShelf(tmp_path / "public"))
    assert cosigned_by(tmp_path / "public", town, witnesses) == {"W1", "W2"}


async def test_with_a_policy_the_last_round_that_meets_it_is_published(tmp_path: Path) -> None:
    town = await told(3)
    witnesses = Witnesses(town, tmp_path / "witnesses", count=2, least=2)
    await bring(town, witnesses)
    await town.alarm()
    await town.budget()
    witnesses.away = {2}
    await bring(town, witnesses)
    await publish_sealed_alarms(town, DirectoryShelf(tmp_path / "public"), policy=witnesses.policy)
    assert parse_checkpoint(published(tmp_path / "public", town).text).size == 3


async def test_what_was_published_before_witnesses_came_is_not_made_shorter(tmp_path: Path) -> None:
    town = await told(3)
    witnesses = Witnesses(town, tmp_path / "witnesses")
    await bring(town, witnesses)
    await town.alarm()
    await town.budget()
    await town.sealer().finish()
    latest = await latest_rounds(town.log, 0, {SITE: town.scene.root})
    assert latest
    head = next(each for each in latest.sealed.heads if each.topic == "alarms")
    await publish(latest, latest.rounds[-1], head, DirectoryShelf(tmp_path / "public"), None)
    assert await publish_sealed_alarms(town, DirectoryShelf(tmp_path / "public")) == 0
    assert parse_checkpoint(published(tmp_path / "public", town).text).size == 4
