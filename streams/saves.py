"""Saved courses: how far a worker's stage had come, so that the next start is short. Never evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter

from streams.course import Course
from streams.reader import Bookmark
from streams.stage import AnyStage
from streams.state import state_bytes, state_from


@dataclass(frozen=True)
class Whose:
    """Whose courses: a stage, by the version of its rules, and the sites, by their root public keys."""

    stage: AnyStage
    roots: Mapping[str, bytes]

    def as_document(self) -> dict[str, Any]:
        """The same as JSON shows it."""
        roots = {site: root.hex() for site, root in sorted(self.roots.items())}
        return {"stage": self.stage.source, "version": self.stage.version, "roots": roots}


@dataclass(frozen=True)
class SavedCourse:
    """A course but for its state and its stage."""

    decision: int
    time_us: int
    runs: list[tuple[str, int]]
    sequences: dict[str, int]


@dataclass(frozen=True)
class Saved:
    """The courses of all sites, and where the worker's readers stood: that of its inputs, that of its own outputs."""

    inputs: Bookmark
    outputs: Bookmark
    courses: dict[str, SavedCourse]
    states: dict[str, Any]

    def restore(self, course: Course[Any]) -> None:
        """Put a course that has just begun where this one stood."""
        kept = self.courses[course.site]
        course.state = self.states[course.site]
        course.decision, course.time_us = kept.decision, kept.time_us
        course.runs.extend(kept.runs)
        course.scribe.sequences.update(kept.sequences)


def as_bytes(worker: Whose, inputs: Bookmark, behind: Mapping[str, int], courses: Mapping[str, Course[Any]]) -> bytes:
    """Courses as `load` reads them: a line of JSON, and the state of each site on one of its own.

    All that the stage has said in a topic before the place that `behind` names is in the courses.
    """
    outputs = Bookmark(
        dict(behind),
        {
            site: {topic: {worker.stage.source: last} for topic, last in course.scribe.sequences.items()}
            for site, course in courses.items()
        },
        {},
        {},
    )
    document = {
        **worker.as_document(),
        "inputs": inputs,
        "outputs": outputs,
        "courses": {
            site: SavedCourse(course.decision, course.time_us, course.runs, course.scribe.sequences)
            for site, course in sorted(courses.items())
        },
    }
    states = (state_bytes(worker.stage.state_type, course.state) for _, course in sorted(courses.items()))
    return b"\n".join([orjson.dumps(document), *states])


def load(path: Path, worker: Whose) -> Saved | None:
    """What `as_bytes` made for the same worker; None if there is no such file, or it cannot be read."""
    try:
        first, *states = path.read_bytes().split(b"\n")
        document = orjson.loads(first)
        if any(document[name] != value for name, value in worker.as_document().items()):
            return None
        return Saved(
            TypeAdapter(Bookmark).validate_python(document["inputs"]),
            TypeAdapter(Bookmark).validate_python(document["outputs"]),
            TypeAdapter(dict[str, SavedCourse]).validate_python(document["courses"]),
            {
                site: state_from(worker.stage.state_type, state)
                for site, state in zip(sorted(worker.roots), states, strict=True)
            },
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
