"""Bars that count: on a terminal a line that moves, in a pipe nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from qpubus.show import is_terminal

Counted = Callable[[int, int], None]
"""Is told how many are done, and of how many."""


@contextmanager
def counted(what: str, *, quiet: bool = False) -> Iterator[Counted | None]:
    """What to tell how far the work is; None where nobody looks on."""
    if quiet or not is_terminal():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield tell
