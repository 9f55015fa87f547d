"""The artefact store: what is kept, and what is refused."""

import errno
import os
from pathlib import Path

import pytest

from agents.artifacts import ArtifactError, ArtifactStore
from schemas.digests import sha256_hex


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts", bytes_max=64)


def test_a_document_is_kept_under_its_sha256(store: ArtifactStore) -> None:
    digest = store.put(b"content")
    assert digest == sha256_hex(b"content")
    assert store.get(digest) == b"content"


def test_a_document_stored_twice_is_one_file(store: ArtifactStore, tmp_path: Path) -> None:
    store.put(b"content")
    store.put(b"content")
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [sha256_hex(b"content")]


def test_a_document_that_was_changed_on_disk_is_not_given_out(store: ArtifactStore, tmp_path: Path) -> None:
    digest = store.put(b"content")
    (tmp_path / "artifacts" / digest).write_bytes(b"c0ntent")
    with pytest.raises(ArtifactError) as caught:
        store.get(digest)
    assert caught.value.reason == "artifact_damaged"


def test_storing_it_again_mends_a_damaged_document(store: ArtifactStore, tmp_path: Path) -> None:
    digest = store.put(b"content")
    (tmp_path / "artifacts" / digest).write_bytes(b"c0ntent")
    store.put(b"content")
    assert store.get(digest) == b"content"


def test_a_document_above_the_limit_is_refused(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError) as caught:
        store.put(b"x" * 65)
    assert caught.value.reason == "artifact_oversized"


def test_an_absent_document_is_named_as_missing(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError) as caught:
        store.get(sha256_hex(b"never stored"))
    assert caught.value.reason == "artifact_missing"


@pytest.mark.parametrize("name", ["../root.pub", "", "A" * 64, "a" * 63])
def test_a_name_that_is_no_digest_reaches_no_file(store: ArtifactStore, name: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        store.get(name)
    assert caught.value.reason == "digest_malformed"


def test_a_full_disk_is_told_as_such_and_leaves_nothing_behind(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(ArtifactError) as caught:
        store.put(b"content")
    assert caught.value.reason == "storage_full"
    assert list((tmp_path / "artifacts").iterdir()) == []
