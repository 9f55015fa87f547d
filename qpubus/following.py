"""Following a job to its end: sentences as they come, and on a terminal a bar of the shots that were run."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from qpubus import narration
from qpubus.events_text import job_of
from qpubus.reading import Desk
from qpubus.show import is_terminal, printable
from schemas.words import Event
from streams.stage import Heard

Said = Callable[[Event], None]


async def follow(desk: Desk, job_id: str, heard: Said) -> None:
    """Hand over every event about a job, from its declaration on, until it is over and its money is settled."""
    progress = narration.Progress()
    async for items in desk.events():
        for item in items:
            if isinstance(item, Heard) and job_of(item.event) == job_id:
                heard(item.event)
                progress = narration.after(progress, item.event)
        if not items and progress.is_over:
            return


@contextmanager
def shown_progress(*, quiet: bool = False) -> Iterator[Said]:
    """What to call with each event about a job: it writes sentences, and draws a bar where a person looks on."""
    if quiet:
        yield lambda _: None
        return
    if not is_terminal():
        yield _write
        return
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[shots]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("waiting", total=None, shots="")
        state = narration.Progress()

        def write(event: Event) -> None:
            nonlocal state
            state = narration.after(state, event)
            if line := narration.sentence(event):
                console.print(printable(line))
            shots = f"{state.shots:,} shots" if state.shots else ""
            bar.update(
                task,
                description=printable(state.doing),
                completed=state.shots,
                total=state.shots_max if state.shots else None,
                shots=shots,
            )

        yield write


def _write(event: Event) -> None:
    if line := narration.sentence(event):
        print(printable(line), flush=True)
