"""Opening the HTTP door of a running machine: settings and an address go in; REST, MCP and OAuth are served there."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qpubus.mcp.door import McpDoor
from qpubus.telemetry.requests import Traced
from qpubus.web.app import rest_app
from qpubus.web.asked import Door
from qpubus.web.desk import FrontDesk
from qpubus.web.gate import Gate
from qpubus.web.identity import MCP_PATH, Identity
from qpubus.web.issuer import Issuer
from qpubus.web.outside import Provider
from qpubus.web.server import Address, listen, serving
from qpubus.web.settings import Settings, is_loopback
from qpubus.web.uploads import Uploads
from qpubus.web.used import UsedAssertions
from qpubus.web.workload import Rates, Workload
from qpubus.wiring import Machine


@asynccontextmanager
async def open_http(machine: Machine, address: Address, settings: Settings) -> AsyncIterator[FrontDesk]:
    """Serve a machine over HTTP for as long as the context lasts; the desk knows where it is reached."""
    bound, real = listen(address, settings.public_url)
    base_url = settings.public_url or f"http://{real.text}"
    workload = Workload(settings.working_max)
    desk = FrontDesk(machine, base_url, workload)
    used = UsedAssertions(machine.place.directory / "assertions.sqlite")
    try:
        rates = Rates(settings.rate_per_s, settings.burst, time.monotonic)
        providers = [Provider(each) for each in settings.issuers]
        identity = Identity(desk, Issuer(base_url, used), rates, providers)
        mcp = McpDoor(desk, identity)
        rest = rest_app(Door(desk, identity, Uploads(machine.place.directory / "uploads")), {MCP_PATH: mcp})
        gate = Gate(
            rest,
            hosts=hosts_of(real, base_url),
            origins=origins_of(real, base_url),
            workload=workload,
            whose=identity.whose,
        )
        async with mcp.open(), serving(Traced(gate), bound, settings.connections_max):
            yield desk
    finally:
        used.close()
        bound.close()


def hosts_of(address: Address, base_url: str) -> set[str]:
    """The values of Host under which the door answers: its address, its public name, and this machine's own names."""
    own = {address.text, base_url.partition("://")[2].partition("/")[0]}
    if is_loopback(address.host):
        own |= {f"{name}:{address.port}" for name in ("localhost", "127.0.0.1", "[::1]")}
    return {each.lower() for each in own}


def origins_of(address: Address, base_url: str) -> set[str]:
    """The web origins whose pages may ask: the door's own."""
    scheme = base_url.partition("://")[0]
    return {f"{scheme}://{host}" for host in hosts_of(address, base_url)}
