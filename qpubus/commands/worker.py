"""Serving stages on Kafka: `worker`."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from agents.courier import Courier
from qpubus.hosting import CALLBACKS, NAMES, Home, errand_of, homes_of, post_of
from qpubus.kafka.access import Access
from streams.app.host import PATIENCE_S, Host, House
from streams.app.share import Duty
from streams.log.kafka.reading import KafkaReader

SESSION_S = 10.0


def worker(
    stages: Annotated[list[str], typer.Argument(metavar="STAGE...", help=f"What to serve: {', '.join(NAMES)}.")],
    *,
    access: Annotated[
        Path, typer.Option("--access", metavar="DIR", help="Holds STAGE.properties: how each reaches the broker.")
    ],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DIR", help="A site: root.pub and the stages' keys. Repeatable.")
    ],
    states: Annotated[
        Path, typer.Option("--states", metavar="DIR", help="Where states are saved, for a short start.")
    ] = Path("states"),
    member: Annotated[
        str, typer.Option("--member", metavar="NAME", help="This process among those that share the work.")
    ] = socket.gethostname(),
    session: Annotated[
        float,
        typer.Option("--session", metavar="SECONDS", min=1, help="One silent for so long has its work taken over."),
    ] = SESSION_S,
    patience: Annotated[
        float, typer.Option("--patience", metavar="SECONDS", min=1, help="Leave when nothing moves for so long.")
    ] = PATIENCE_S,
    callback_host: Annotated[
        list[str] | None,
        typer.Option(
            "--callback-host",
            metavar="HOST[:PORT]",
            envvar="QPUBUS_CALLBACK_HOSTS",
            help="Bring notices here, and nowhere else. Repeatable.",
        ),
    ] = None,
    callback_ca: Annotated[
        Path | None, typer.Option("--callback-ca", metavar="FILE", help="Believe these authorities instead (PEM).")
    ] = None,
    web: Annotated[
        str, typer.Option("--web", metavar="HOST:PORT", help="Where /metrics and Faust's own pages are.")
    ] = "127.0.0.1:6066",
) -> None:
    """Serve stages, `views` or `callbacks`, for some of the partition numbers; further processes share in the work.

    The process ends with an error as soon as it cannot be sure of what it knows: let a supervisor start it again.
    """
    if unknown := [name for name in stages if name not in NAMES]:
        raise typer.BadParameter(f"there is no {unknown[0]!r}; there are: {', '.join(NAMES)}", param_hint="STAGE")
    accesses = {name: Access.read(access / f"{name}.properties") for name in dict.fromkeys(stages)}
    homes = asyncio.run(_homes(next(iter(accesses.values())), data))
    posts = [post_of(name, each, homes, states) for name, each in accesses.items() if name != CALLBACKS]
    errand = None
    if CALLBACKS in accesses:
        courier = Courier(callback_host or (), ssl.create_default_context(cafile=callback_ca) if callback_ca else None)
        errand = errand_of(accesses[CALLBACKS], homes, courier)
    host, _, port = web.rpartition(":")
    if not port.isdecimal():
        raise typer.BadParameter(f"{web!r} does not end with a port", param_hint="--web")
    house = House(states / "faust", host, int(port), patience)
    Host(posts, Duty(member, int(session * 1_000)), house, errand).run()


async def _homes(access: Access, data: Sequence[Path]) -> list[Home]:
    log = await KafkaReader.open(access.aiokafka())
    try:
        return await homes_of(log, data)
    finally:
        await log.close()
