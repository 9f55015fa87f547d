"""Classes of data: what a job makes inherits the highest class of what went into it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from streams.state import Map, Table

CLASSES = ("public", "internal", "confidential", "restricted")
"""Lowest first."""


@dataclass(frozen=True, slots=True)
class DataClasses:
    """The class of each document that a job has made, by digest. One that no job made has no class of its own."""

    made: Table[str, str] = field(default_factory=Map[str, str])

    def of_job(self, own: str, inputs: Iterable[str]) -> str:
        """The class of a job: the highest of what it says of itself and what its inputs have inherited."""
        inherited = [self.made[digest] for digest in inputs if digest in self.made]
        return highest((own, *inherited)) if inherited else own

    def with_made(self, digest: str, data_class: str) -> "DataClasses":
        """What is known after a job of a class made a document. The same bytes, made twice, keep the higher class."""
        if not digest:
            return self
        known = self.made.get(digest, data_class)
        return replace(self, made=self.made.set(digest, highest((known, data_class))))


def highest(classes: Iterable[str]) -> str:
    """The highest of some classes."""
    return max(classes, key=CLASSES.index)
