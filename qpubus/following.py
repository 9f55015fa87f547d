"""Following a job to its end: a line for each event that moves it on, and on a terminal a bar of the shots that ran."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from qpubus import narration
from qpubus.events_text import job_of
from qpubus.reading import Desk
from qpubus.show import is_terminal, printable
from schemas.words import Event
from streams.stage import Heard


class Story:
    """Tells what happens to a job, event by event. This one says nothing; `told_story` gives one that does."""

    def hear(self, event: Event) -> None:
        """Take in an event about the job."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let somebody else have the terminal."""
        yield


class _Lines(Story):
    def hear(self, event: Event) -> None:
        if line := narration.told(event):
            print(printable(line), flush=True)


class _Bar(Story):
    def __init__(self, console: Console, bar: Progress) -> None:
        self._console = console
        self._bar = bar
        self._task = bar.add_task("waiting", total=None, shots="")
        self._progress = narration.Progress()

    def hear(self, event: Event) -> None:
        self._progress = now = narration.after(self._progress, event)
        if line := narration.told(event):
            self._console.print(printable(line))
        self._bar.update(
            self._task,
            description=printable(now.doing),
            completed=now.shots,
            total=now.shots_max if now.shots else None,
            shots=f"{now.shots:,} of at most {now.shots_max:,} shots" if now.shots else "",
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()


@contextmanager
def told_story(*, quiet: bool = False) -> Iterator[Story]:
    """A story for whoever reads standard output: lines, with a bar on a terminal; nothing if `quiet`."""
    if quiet:
        yield Story()
    elif not is_terminal():
        yield _Lines()
    else:
        console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[shots]}"))
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
            yield _Bar(console, bar)


async def follow(desk: Desk, job_id: str, story: Story) -> None:
    """Tell the story of a job, from its declaration on, until it is over and its money is settled."""
    progress = narration.Progress()
    async for items in desk.events():
        for item in items:
            if isinstance(item, Heard) and job_of(item.event) == job_id:
                story.hear(item.event)
                progress = narration.after(progress, item.event)
        if not items and progress.is_over and progress.is_settled:
            return
