"""The HTTP door's socket and server: an address and an ASGI application go in; it is served for as long as asked."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from qpubus.problem import Problem
from qpubus.web.protocol import HEADER_BYTES_MAX, BoundedProtocol
from qpubus.web.settings import is_loopback

KEEP_ALIVE_S = 15
SHUTDOWN_S = 3
_BACKLOG = 1_024


@dataclass(frozen=True, slots=True)
class Address:
    """Where the door listens; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> "Address":
        """HOST:PORT, an IPv6 host in brackets."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise Problem(f"--http {text}: it is not HOST:PORT", "For example 127.0.0.1:8080, or off for no HTTP.")
        return cls(host, int(port))

    @property
    def text(self) -> str:
        """HOST:PORT as it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listen(address: Address, public_url: str) -> tuple[socket.socket, Address]:
    """A bound socket and where it listens; `Problem` if the port is taken, or tokens would travel in the open."""
    if not is_loopback(address.host) and not public_url.startswith("https://"):
        raise Problem(
            f"{address.text} can be reached from other machines, and access tokens would travel in the open",
            "Put a proxy with TLS before it and name its https address as public_url: docs/gateway.md says how.",
        )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address.host, address.port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise Problem(
                f"another process listens on {address.text}",
                "Choose another port with --http 127.0.0.1:PORT (0: any free one), or --http off.",
            ) from None
        raise Problem(f"{address.text} cannot be listened on: {error.strerror or error}", "See --http.") from None
    return bound, Address(address.host, bound.getsockname()[1])


class _Server(uvicorn.Server):
    """uvicorn's server under somebody else's signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_open = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_open.set()


@asynccontextmanager
async def serving(app: ASGIApp, bound: socket.socket, connections_max: int) -> AsyncIterator[None]:
    """Serve an application on a socket for as long as the context lasts; then what is running may end, for a while."""
    protocol = type("Protocol", (BoundedProtocol,), {"connections_max": connections_max})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]), name="http")
    opened = asyncio.create_task(server.is_open.wait())
    await asyncio.wait([opened, task], return_when=asyncio.FIRST_COMPLETED)
    if not server.is_open.is_set():
        opened.cancel()
        await task
        raise Problem("the HTTP door did not open", "Start again with QPUBUS_DEBUG=1.")
    try:
        yield
    finally:
        server.should_exit = True
        await task
