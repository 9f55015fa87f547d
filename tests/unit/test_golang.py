"""What we publish, judged by Go's own code for signed notes and transparent logs (golang.org/x/mod/sumdb)."""

import base64
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from replay.shelves import DirectoryShelf
from schemas.checkpoints import origin_of
from schemas.keys import raw_public_key
from schemas.merkle import Frontier, audit_paths, consistency_proof, leaf_hash, tree_levels
from schemas.note import Kind, NoteKey
from tests.support.publishing import publish_alarms
from tests.support.sealing import Sealing, in_memory

JUDGE = Path(__file__).parents[1] / "golang"
RECORDS = 700
"""Two full tiles, one that is not, and a level above."""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The judge, built; skipped where there is no Go, or where its module was never fetched and cannot be."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go here, so nobody but ourselves judges our notes and tiles")
    program = tmp_path_factory.mktemp("golang") / "judge"
    built = subprocess.run(["go", "build", "-o", program, "."], cwd=JUDGE, capture_output=True, text=True, check=False)
    if any(sign in built.stderr for sign in ("dial tcp", "module lookup disabled", "requires go >=", "toolchain not")):
        pytest.skip(f"this Go cannot build our judge, or not without a network: {built.stderr[-200:]}")
    assert built.returncode == 0, built.stderr
    return program


async def case(directory: Path) -> dict[str, Any]:
    """A published tree of alarms with proofs of our own."""
    town = await in_memory()
    await town.alarm(RECORDS)
    await publish_alarms(town, DirectoryShelf(directory))
    digests = await town.digests("alarms")
    leaves = [leaf_hash(digest) for digest in digests]
    paths = audit_paths(tree_levels(leaves))
    return {
        "directory": str(directory / origin_of(town.scene.root, "alarms", 0)),
        "key": key(town).text,
        "inclusion": [
            {
                "index": at,
                "entry": text(digests[at]),
                "proof": texts([paths[at][i : i + 32] for i in range(0, len(paths[at]), 32)]),
            }
            for at in range(0, RECORDS, 7)
        ],
        "consistency": [consistency(leaves, old) for old in range(1, RECORDS, 13)],
    }


def key(town: Sealing) -> NoteKey:
    return NoteKey(origin_of(town.scene.root, "alarms", 0), Kind.TEXT, raw_public_key(town.scene.keys["sealer:main"]))


def consistency(leaves: list[bytes], old: int) -> dict[str, Any]:
    before = Frontier()
    before.extend(leaves[:old])
    return {"oldSize": old, "oldRoot": text(before.root()), "proof": texts(consistency_proof(before, leaves[old:]))}


def hashes_of(path: bytes) -> list[bytes]:
    return [path[at : at + 32] for at in range(0, len(path), 32)]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def texts(hashes: list[bytes]) -> list[str]:
    return [text(each) for each in hashes]


def judged(judge: Path, asked: dict[str, Any]) -> list[str]:
    done = subprocess.run([judge], input=orjson.dumps(asked), capture_output=True, check=False, env=dict(os.environ))
    return done.stdout.decode().splitlines()


async def test_go_accepts_our_notes_tiles_entries_and_proofs(judge: Path, tmp_path: Path) -> None:
    assert judged(judge, await case(tmp_path)) == [f"judged {RECORDS} 100 54"]


async def test_go_refuses_a_note_of_another_key(judge: Path, tmp_path: Path) -> None:
    town = await in_memory()
    assert "the note: note has no verifiable signatures" in judged(
        judge, await case(tmp_path) | {"key": key(town).text}
    )


async def test_go_refuses_a_tile_with_a_changed_hash(judge: Path, tmp_path: Path) -> None:
    asked = await case(tmp_path)
    tile = Path(asked["directory"]) / "tile/0/001"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    assert "tiles of record 256: downloaded inconsistent tile" in judged(judge, asked)


async def test_go_refuses_a_proof_with_a_changed_hash(judge: Path, tmp_path: Path) -> None:
    asked = await case(tmp_path)
    asked["consistency"][5]["proof"][0] = text(bytes(32))
    assert judged(judge, asked)[0].startswith("consistency with 66:")
