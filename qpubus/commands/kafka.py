"""A Kafka broker for the bus on this machine: `kafka start`, `kafka stop`, `kafka status`, `kafka acls`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from qpubus import show
from qpubus.commands.options import DEFAULT_BROKER, Json
from qpubus.kafka import acls
from qpubus.kafka.access import Access
from qpubus.kafka.broker import DEFAULT_PORT, Broker, Engine
from qpubus.kafka.cluster import Acl, Operation, Resource, connected
from qpubus.kafka.registry import Registry
from qpubus.kafka.settings import OPERATOR
from qpubus.kafka.setup import set_up
from qpubus.kafka.topics import DEFAULT_PARTITIONS
from qpubus.problem import Problem
from qpubus.tables import table
from schemas.topics import TOPICS

app = typer.Typer(
    name="kafka",
    help="Run a Kafka broker for the bus.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Data = Annotated[
    Path,
    typer.Option("--data", metavar="DIR", envvar="QPUBUS_KAFKA", help="The broker's directory.", show_default=True),
]
Port = Annotated[
    int | None,
    typer.Option(
        "--port", min=0, max=65_535, help=f"Where clients connect; 0: any free one. As before, or {DEFAULT_PORT}."
    ),
]
Partitions = Annotated[
    int, typer.Option("--partitions", min=1, max=1_000, help="How many each topic gets when it is made.")
]

WithRegistry = Annotated[bool, typer.Option("--registry", help="Start a schema registry beside it.")]
WithEngine = Annotated[
    Engine | None,
    typer.Option("--engine", help="As before, or a container where there is an engine for them, or Java."),
]
Apply = Annotated[bool, typer.Option("--apply", help="Allow what the table says and take back the rest.")]


@app.callback()
def kafka() -> None:
    """Run a Kafka broker on this machine, on loopback only: SCRAM over TLS, one user a role, deny by default."""


@app.command()
def start(
    *,
    data: Data = DEFAULT_BROKER,
    port: Port = None,
    partitions: Partitions = DEFAULT_PARTITIONS,
    registry: WithRegistry = False,
    engine: WithEngine = None,
) -> None:
    """Start the broker and wait until it is of use: topics, users and ACLs are there. Running already is no error."""
    broker = Broker(data)
    operator = broker.start(port, engine)
    asyncio.run(set_up(broker, partitions))
    print(f"Kafka answers at {operator.bootstrap}. Its users' passwords lie in {broker.access_file('NAME')}.")
    if registry:
        print(f"The schema registry answers at {Registry(data).start()}")
    print(f"Stop it: qpubus kafka stop --data {data}")


@app.command()
def stop(*, data: Data = DEFAULT_BROKER) -> None:
    """Stop broker and registry in order; the broker's data stays. Not running is no error."""
    if Registry(data).stop():
        print("The schema registry has stopped.")
    print("Kafka has stopped." if Broker(data).stop() else f"No Kafka runs in {data}.")


@app.command()
def status(*, data: Data = DEFAULT_BROKER, json: Json = False) -> None:
    """Ask the broker whether it is well: it must really answer. Exits 1 if it does not."""
    broker, registry = Broker(data), Registry(data)
    pid = broker.pid()
    if not pid:
        raise Problem(f"no Kafka runs in {data}", f"Start it: qpubus kafka start --data {data}", code="not_running")
    health = broker.health()
    document = {
        "bootstrap": health.bootstrap,
        "process": pid,
        "nodes": health.nodes,
        "topics": list(health.topics),
        "registry": registry.url if registry.pid() and registry.answers() else None,
    }
    if json:
        show.json(document)
        return
    show.facts(
        [(name, ", ".join(value) if isinstance(value, list) else str(value or "")) for name, value in document.items()]
    )


@app.command()
def files(*, data: Data = DEFAULT_BROKER, port: Port = None) -> None:
    """Write what the compose files mount, passwords and certificates among it, and start nothing."""
    broker = Broker(data)
    if broker.engine is Engine.JAVA:
        raise Problem(f"{data} is of a broker in Java", "Name another directory.")
    broker.write_container_files(port)
    print(f"Written to {broker.directory / 'container'}, for this user alone. compose.env there names it to compose.")


@app.command(name="acls")
def show_acls(*, data: Data = DEFAULT_BROKER, apply: Apply = False, json: Json = False) -> None:
    """Show who may do what, from the one table of topics and roles; or bring the broker to it."""
    if apply:
        more, less = asyncio.run(_apply(Broker(data).access(OPERATOR)))
        print(f"{len(more)} allowed, {len(less)} taken back.")
        return
    if json:
        show.json(
            [
                {
                    "principal": a.principal,
                    "allowed": a.operation.name,
                    "on": a.resource.name,
                    "name": a.name,
                    "pattern": a.pattern.name,
                }
                for a in sorted(acls.declared())
            ]
        )
        return
    rows = [(each, *(_letters(each, topic) for topic in TOPICS), f"{acls.prefix(each)}*") for each in acls.PRINCIPALS]
    table(("principal", *TOPICS, "own ids"), rows)


def _letters(principal: str, topic: str) -> str:
    """R where it may read, W where it may write."""
    may = {acl.operation for acl in acls.acls_of(principal) if acl.resource is Resource.TOPIC and acl.name == topic}
    return "".join(each.name[0] for each in (Operation.READ, Operation.WRITE) if each in may) or "-"


async def _apply(operator: Access) -> tuple[set[Acl], set[Acl]]:
    async with connected(operator) as client:
        return await acls.apply(client)
