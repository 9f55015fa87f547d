"""The Faust App around the crews: life cycle, timers, web pages, and the one agent. Faust keeps no table here.

Whatever goes wrong ends the process at once with a line that says why. It has no clean-up to do: an open transaction is
aborted by whoever takes the number over, and what is on the log is all that counts.
"""

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, NoReturn

import faust
from faust.app.base import BootStrategy
from mode import Service

from streams.app.crew import Crew, Post
from streams.app.desk import Desk
from streams.app.errands import Errands
from streams.app.metrics import CONTENT_TYPE, Figures, exposition
from streams.app.share import Duty
from streams.app.watchdog import Watchdog

LOOK_S = 1.0
PATIENCE_S = 60.0
"""What makes no progress for so long, while records wait for it, ends the process."""
EXIT_FAILED, EXIT_CORRUPT = 1, 2
_YOUNG_MAX = 50_000
"""A page of records and what follows from it are so many objects, all of them in use."""


@dataclass(frozen=True, slots=True)
class House:
    """Where a worker process keeps what Faust wants kept, and where its pages are: port 0 for none."""

    directory: Path
    web_host: str
    web_port: int
    patience_s: float = PATIENCE_S


class _WithoutKafka(BootStrategy):
    """Faust starts no consumer, no producer and no tables of its own."""

    enable_kafka = False


class Host:
    """Runs crews in a Faust worker."""

    def __init__(self, posts: Sequence[Post], duty: Duty, house: House, errand: Post | None = None) -> None:
        """`posts` are served by our own loop, an `errand` by a Faust agent."""
        self._duty = duty
        self._house = house
        self._watchdog = Watchdog(house.patience_s)
        self._crews = [Crew(post, duty, say, alarm=alarm, fail=leave) for post in posts]
        self._errands = Errands(errand, duty, say, alarm=alarm, fail=leave) if errand else None
        self._corrupt: list[str] = []
        self._figures: dict[str, Figures] = {}

    def app(self) -> faust.App:
        """The App: the crews as its service, a look at them each second, and `/metrics`."""
        app = faust.App(
            self._errands.post.group if self._errands else f"qpubus-worker-{self._duty.member}",
            broker="kafka://unused",
            datadir=self._house.directory,
            web_host=self._house.web_host,
            web_port=self._house.web_port or None,
            web_enabled=bool(self._house.web_port),
            topic_allow_declare=False,
            topic_disable_leader=True,
            broker_commit_interval=LOOK_S,
        )
        app.boot_strategy = _WithoutKafka(app)
        if self._errands:
            self._errands.join(app, self._duty)
        crews, corrupt = self._all_crews, self._corrupt

        @app.service
        class Crews(Service):
            async def on_start(self) -> None:
                for crew in crews:
                    crew.start()

            async def on_stop(self) -> None:
                corrupt.extend(f"{desk.name}: {desk.corrupt}" for crew in crews for desk in crew.desks if desk.corrupt)
                await asyncio.gather(*(crew.stop() for crew in crews))

        app.timer(interval=LOOK_S)(self._look)

        @app.page("/metrics")
        async def metrics(page: Any, _request: Any) -> Any:
            return page.text(exposition(list(self._figures.values())), content_type=CONTENT_TYPE)

        return app

    @property
    def _all_crews(self) -> list[Crew]:
        return [*self._crews, *([self._errands] if self._errands else [])]

    def run(self) -> None:
        """Work until the process is asked to stop by a signal."""
        self._house.directory.mkdir(parents=True, exist_ok=True)
        collect_seldom()
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        worker = faust.Worker(self.app(), loop=loop, quiet=True, redirect_stdouts=False, override_logging=False)
        worker.spinner = None
        self._watchdog.told(time.monotonic())
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        try:
            loop.run_until_complete(worker.start())
        except Exception as error:  # noqa: BLE001 - a page's port that is taken, a directory that is not ours
            leave(f"{type(error).__name__}: {error}")
        worker.stop_and_shutdown()
        if self._corrupt:
            leave(
                f"asked to; the log is corrupt, and somebody must look into it: {'; '.join(self._corrupt)}",
                EXIT_CORRUPT,
            )

    async def _look(self, app: faust.App) -> None:
        if self._errands:
            self._errands.look(app)
        desks: list[Desk] = [desk for crew in self._all_crews for desk in crew.desks]
        figures = {}
        for desk in desks:
            figures[desk.name] = await self._look_at(desk)
        self._watchdog.forget({name for name, each in figures.items() if not isnan(each.lag)})
        self._watchdog.told(time.monotonic())
        self._figures = figures

    async def _look_at(self, desk: Desk) -> Figures:
        tally, lag = await desk.look()
        if not isnan(lag):
            self._watchdog.look(desk.name, tally.read, lag, time.monotonic())
        before = self._figures.get(desk.name)
        rate = max(0, tally.read - before.read) / LOOK_S if before else 0.0
        return Figures(
            desk.stage, desk.partition, lag, tally.read, rate, tally.said, dict(tally.refused), tally.decide_s,
            desk.progressed_at, desk.hand_over_s, bool(desk.corrupt),
        )  # fmt: skip

    def _watch(self) -> None:
        """In a thread of its own, for the event loop itself may be what has stopped."""
        while True:
            time.sleep(LOOK_S)
            if why := self._watchdog.why_leave(time.monotonic()):
                leave(why)


def collect_seldom() -> None:
    """Look for cyclic garbage seldom, and never among what is there now.

    Nothing of what passes through here points back at itself. At Python's own pace looking takes an eighth of the time.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX)


def say(line: str) -> None:
    """Tell whoever watches this process."""
    print(line, flush=True)  # noqa: T201 - a worker process talks to its supervisor


def alarm(line: str) -> None:
    """Tell that a person must look."""
    print(f"ALARM: {line}", file=sys.stderr, flush=True)  # noqa: T201 - likewise


def leave(why: str, exit_code: int = EXIT_FAILED) -> NoReturn:
    """End the process, at once and with a last line: what it holds in memory may be ahead of the log."""
    print(f"This worker leaves: {why}", file=sys.stderr, flush=True)  # noqa: T201 - likewise
    os._exit(exit_code)
