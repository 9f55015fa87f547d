"""Files that a command is asked to make: a path goes in, a file that is there whole or not at all comes out.

Nothing is ever written over. What is wrong with a place is said before the work, where it can be known.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from qpubus.problem import Problem
from streams.disk import putting


def check_new(path: Path) -> None:
    """`Problem` if a file is there already, or cannot be there."""
    if path.exists():
        raise Problem(f"{path} is there already", "Name a file that is not there yet.")
    if not path.parent.is_dir():
        raise Problem(f"{path.parent} is no directory", "Make it first, or name a file elsewhere.")


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file to be written bit by bit; `Problem` if it cannot be. After an error it is not there."""
    check_new(path)
    try:
        with putting(path) as file:
            yield file
    except OSError as error:
        raise Problem(f"{path} was not written: {error.strerror or error}", "Name a file elsewhere.") from None
