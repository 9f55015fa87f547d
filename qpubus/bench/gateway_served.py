"""The process that `gateway.declare` asks: gateway, views and HTTP door of a site, nothing else, until its input ends.

    python -m qpubus.bench.gateway_served DIR

It writes one line of JSON when it is ready: where it listens.
"""

import asyncio
import sys
from pathlib import Path

import orjson

from qpubus.bus import run_until_quiet
from qpubus.place import Place
from qpubus.web.opening import open_http
from qpubus.web.server import Address
from qpubus.web.settings import Settings
from qpubus.wiring import open_machine


async def _serve(directory: Path) -> None:
    async with open_machine(Place(directory)) as machine:
        await run_until_quiet([machine.part(name) for name in machine.names if name.startswith("device:")])
        async with open_http(machine, Address("127.0.0.1", 0), Settings()) as desk:
            sys.stdout.buffer.write(orjson.dumps({"url": desk.public_url}) + b"\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
