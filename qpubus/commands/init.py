"""Founding a site: `init`."""

import asyncio
import secrets
from pathlib import Path
from typing import Annotated

import typer

from agents.clock import WallClock
from qpubus import show
from qpubus.commands.options import DEFAULT_BROKER, DEFAULT_DATA, Data, EngineName
from qpubus.examples import H2_JOB, write_examples
from qpubus.founding import Founding, found, is_broken_off
from qpubus.kafka.founding import found_on_kafka
from qpubus.ledger import Cluster
from qpubus.place import Place
from qpubus.policy_set import BUILT_IN_NAMES
from qpubus.problem import Problem

DOLLAR_MICROUSD = 1_000_000
BUDGET_USD = 10_000
KEYS_APART = """
All keys lie on this machine, so that you can try everything at once. On a real site the root key and people's keys
belong on other machines: whoever has the root key decides who may speak, and whoever has an approver's key says yes in
that person's name. Move root.pem away; let each person bring a key of their own, an SSH key or a passkey for instance,
enrol that (qpubus keys enrol) and revoke the one that was made here. The bus needs none of them."""


def init(
    *,
    data: Data = DEFAULT_DATA,
    site: Annotated[str, typer.Option("--site", metavar="NAME", help="The name of your organisation.")] = "site-a",
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="The first agent.")] = "agent:cowork:user-42",
    approver: Annotated[str, typer.Option("--approver", metavar="NAME", help="The first approver.")] = "approver:alice",
    operator: Annotated[
        str, typer.Option("--operator", metavar="NAME", help="Who may halt; lifting a halt takes a second person.")
    ] = "operator:bob",
    budget_usd: Annotated[int, typer.Option("--budget", metavar="USD", min=0, help="What may be spent.")] = BUDGET_USD,
    policy: Annotated[
        str, typer.Option("--policy", metavar="NAME", help="The policy to begin with: first-poc, bank or lab.")
    ] = "first-poc",
    engine: Annotated[EngineName, typer.Option("--engine", help="Where the log is to be.")] = EngineName.EMBEDDED,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML; its table [kafka] says how Kafka is reached.",
            show_default="the broker of `qpubus kafka start`",
        ),
    ] = None,
) -> None:
    """Found a site: keys, policy, prices, budget, a first agent, approver and operator, and an example job.

    The data directory must not hold a site yet. A founding that was broken off there is ended, with the keys it made.
    """
    if policy not in BUILT_IN_NAMES:
        raise Problem(
            f"there is no policy {policy} to begin with",
            f"Name one of {', '.join(BUILT_IN_NAMES)}; qpubus policy publish FILE takes any other later.",
        )
    founding = Founding(
        site=site,
        agent=agent,
        approver=approver,
        clock="wall",
        epoch_us=WallClock().now_us(),
        seed=secrets.randbits(48),
        budget_microusd=budget_usd * DOLLAR_MICROUSD,
        operator=operator,
        policy=policy,
    )
    place = Place(data)
    if is_broken_off(place):
        show.say(f"A founding was broken off in {data}: it is begun again, and the keys that it had made are used.\n")
    if engine is EngineName.KAFKA:
        asyncio.run(found_on_kafka(place, founding, Cluster.configured(config) if config else _cluster_here()))
    else:
        found(place, founding)
    example = write_examples(data / "examples", founding.site, founding.agent)
    _tell(founding, place, example)


def _cluster_here() -> Cluster:
    """The broker that was started in its default directory."""
    if not DEFAULT_BROKER.exists():
        instead = "Start one here: qpubus kafka start; or name a file with a table [kafka]: --config FILE"
        raise Problem("nothing says how Kafka is reached", instead)
    return Cluster(DEFAULT_BROKER / "access")


def _tell(founding: Founding, place: Place, example: Path) -> None:
    """Say where everything lies, and what comes next."""
    data = place.directory
    show.facts(
        [
            ("site", founding.site),
            ("data", str(data)),
            ("root", f"key {place.key('root')}"),
            ("agent", f"{founding.agent}, key {place.key('agent')}"),
            ("approver", f"{founding.approver}, key {place.key('approver')}"),
            ("operator", f"{founding.operator}, key {place.key('operator')}"),
            ("budget", show.usd(founding.budget_microusd)),
        ]
    )
    show.say(KEYS_APART)
    option = "" if data == DEFAULT_DATA else f" --data {data}"
    show.say(
        f"""
Next, in one terminal:
  qpubus up{option}
and in another:
  qpubus submit {example} --wait{option}
It will wait for a person. In a third one, be that person:
  qpubus approvals{option}
  qpubus approve {H2_JOB} --key {place.key("approver")}{option}"""
    )
