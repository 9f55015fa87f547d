"""Explaining jobs beside the running bus: the log is read again from its start, in a thread, one job at a time."""

import asyncio
from typing import Any

from qpubus.ledger import open_reading
from qpubus.refusal import Refusal
from qpubus.web.workload import Shares
from qpubus.wiring import Machine
from replay.explain import explain
from schemas.manifest import plain

WAITING_MAX = 8


class Explaining:
    """Who explains takes a second for each 10,000 records or so: a few may wait, more are turned away."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._turn = asyncio.Lock()
        self._waiting = Shares(WAITING_MAX)

    async def of(self, job_id: str, whose: str) -> dict[str, Any]:
        """The explanation of a job as a document, with the verdict on all its signatures; `whose` asks for it."""
        if not self._waiting.take(whose):
            raise Refusal("overloaded", "too many explanations are asked for, or too many by you", retry_after_s=5)
        try:
            async with self._turn:
                return await asyncio.to_thread(lambda: asyncio.run(self._explain(job_id)))
        finally:
            self._waiting.give(whose)

    async def _explain(self, job_id: str) -> dict[str, Any]:
        async with open_reading(self._machine.place.directory) as log:
            explained = await explain(log, {self._machine.site: self._machine.root_public_key}, job_id)
        if explained is None:
            raise Refusal("job_unknown", f"there is no job {job_id} here")
        return plain(explained) | {"holds": explained.holds, "signatures": explained.signatures}
