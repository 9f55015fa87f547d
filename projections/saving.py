"""Saved views: one file with the views of every site and the place on the log that they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import orjson
from pydantic import TypeAdapter

from projections.views import Views
from streams.disk import put
from streams.reader import Bookmark


@dataclass(frozen=True)
class Saved:
    """Views and how far their reader had read."""

    bookmark: Bookmark
    views: dict[str, Views]
    refused: frozenset[tuple[str, int]] = frozenset()
    """Topic and place of each record that was not believed."""


@cache
def fold_digest() -> str:
    """SHA-256 of the code of this package: a state made by other folds is no state of these."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def save(path: Path, roots: Mapping[str, bytes], saved: Saved) -> None:
    """Put the file in its place: a killed process leaves the old one or the new one."""
    document = {
        "folds": fold_digest(),
        "roots": {site: root.hex() for site, root in roots.items()},
        "bookmark": saved.bookmark,
        "refused": sorted(saved.refused),
        "views": {
            site: {name: orjson.Fragment(text) for name, text in views.to_bytes().items()}
            for site, views in saved.views.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path, orjson.dumps(document))


def load(path: Path, roots: Mapping[str, bytes]) -> Saved | None:
    """What `save` wrote for these sites by these folds; None if there is no such file, or it cannot be read."""
    try:
        document = orjson.loads(path.read_bytes())
        if document["folds"] != fold_digest() or document["roots"] != {site: key.hex() for site, key in roots.items()}:
            return None
        bookmark = TypeAdapter(Bookmark).validate_python(document["bookmark"])
        views = {
            site: Views.from_bytes({name: orjson.dumps(state) for name, state in document["views"][site].items()})
            for site in roots
        }
        refused = frozenset((str(topic), int(offset)) for topic, offset in document["refused"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return Saved(bookmark, views, refused)
