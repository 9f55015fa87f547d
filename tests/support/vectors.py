"""Published test vectors, read where they lie beside the project and never copied into it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

FOLDER = Path(__file__).parents[2].parent / "shared" / "vectors"


def vector_file(name: str) -> bytes:
    """A file of vectors. Where the folder is absent the test is skipped and says so; on CI it fails."""
    path = FOLDER / name
    if path.exists():
        return path.read_bytes()
    message = f"published vectors are absent: {path}; put the folder there, its SOURCES.md says where they come from"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def vector_lines(name: str) -> Iterator[dict[str, Any]]:
    """The cases of a file with one JSON object a line."""
    for line in vector_file(name).splitlines():
        yield orjson.loads(line)
