"""Founding a site: `init`."""

import secrets
from typing import Annotated

import typer

from agents.clock import WallClock
from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data
from qpubus.examples import H2_JOB, write_examples
from qpubus.founding import Founding, found, is_broken_off
from qpubus.place import Place

DOLLAR_MICROUSD = 1_000_000
BUDGET_USD = 10_000
KEYS_APART = """
All keys lie on this machine, so that you can try everything at once. On a real site the root key and the approvers'
keys belong on other machines: whoever has the root key decides who may speak, and whoever has an approver's key says
yes in that person's name. Move root.pem away; let each approver make a key of their own, enrol that (qpubus keys enrol)
and revoke the one that was made here. The bus needs neither."""


def init(
    *,
    data: Data = DEFAULT_DATA,
    site: Annotated[str, typer.Option("--site", metavar="NAME", help="The name of your organisation.")] = "site-a",
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="The first agent.")] = "agent:cowork:user-42",
    approver: Annotated[str, typer.Option("--approver", metavar="NAME", help="The first approver.")] = "approver:alice",
    budget_usd: Annotated[int, typer.Option("--budget", metavar="USD", min=0, help="What may be spent.")] = BUDGET_USD,
) -> None:
    """Found a site: keys, policy, prices, budget, a first agent and a first approver, and an example job.

    The data directory must not hold a site yet. A founding that was broken off there is ended, with the keys it made.
    """
    founding = Founding(
        site=site,
        agent=agent,
        approver=approver,
        clock="wall",
        epoch_us=WallClock().now_us(),
        seed=secrets.randbits(48),
        budget_microusd=budget_usd * DOLLAR_MICROUSD,
    )
    place = Place(data)
    if is_broken_off(place):
        show.say(f"A founding was broken off in {data}: it is begun again, and the keys that it had made are used.\n")
    found(place, founding)
    example = write_examples(data / "examples", founding.site, founding.agent)
    show.facts(
        [
            ("site", site),
            ("data", str(data)),
            ("root", f"key {place.key('root')}"),
            ("agent", f"{agent}, key {place.key('agent')}"),
            ("approver", f"{approver}, key {place.key('approver')}"),
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
