"""Earned autonomy: `autonomy list`, `autonomy ratify`, `autonomy revoke`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from agents.clock import WallClock
from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, Json, SignKey
from qpubus.petitioning import nonce, petitioner, span_us, standing
from qpubus.problem import Problem
from qpubus.reading import open_desk
from qpubus.tables import table
from schemas.events import AutonomyGranted, AutonomyLadder, AutonomyRevoked, AutonomyStatement
from streams.policy.autonomy import Standing
from streams.policy.state import PolicyState

app = typer.Typer(
    name="autonomy", help="Earned autonomy.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Whose autonomy: agent:cowork:user-42.")]
Kind = Annotated[
    str, typer.Option("--class", metavar="TEXT", help="The class of action; may be left out where there is one.")
]


class Row(NamedTuple):
    """Where an agent stands for a class of action."""

    agent: str
    kind: str
    standing: Standing


@app.callback()
def autonomy() -> None:
    """What agents have earned by the log's evidence, and what people have ratified of it."""


@app.command(name="list")
def list_autonomy(*, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """List where each agent stands for each class of action, and what is proposed."""
    state, now_us = asyncio.run(_state(data)), WallClock().now_us()
    rows = list(_rows(state))
    if json:
        show.json(
            [
                {
                    "agent": each.agent,
                    "action_class": each.kind,
                    "level": _level(each.standing, now_us),
                    "limit_microusd": each.standing.limit_microusd,
                    "expires_us": each.standing.expires_us or None,
                    "proposed_level": each.standing.proposed_level if each.standing.proposed_digest else None,
                    "evidence_digest": each.standing.proposed_digest or None,
                    "jobs": each.standing.evidence.jobs,
                    "accuracy_low": each.standing.evidence.accuracy_low,
                    "overruns": each.standing.evidence.overruns,
                    "refusals": each.standing.evidence.refusals,
                }
                for each in rows
            ]
        )
        return
    if not rows:
        show.say("Nothing has been earned yet." if state.ladder.steps else "The policy in force has no ladder.")
        return
    columns = ("agent", "class of action", "step", "up to", "until", "proposed", "jobs", "accuracy ≥", "against it")
    table(columns, [_cells(each, state.ladder, now_us) for each in rows])


def _cells(row: Row, ladder: AutonomyLadder, now_us: int) -> tuple[str, ...]:
    known, level = row.standing, _level(row.standing, now_us)
    proposed = known.proposed_level if known.proposed_digest else 0
    limit = ladder.steps[proposed - 1].price_limit_microusd if 0 < proposed <= len(ladder.steps) else 0
    return (
        row.agent,
        row.kind,
        str(level),
        show.usd(min(known.limit_microusd, ladder.floor_microusd)) if level else "",
        show.utc(known.expires_us) if level else "",
        f"step {proposed}, up to {show.usd(limit)}" if proposed else "",
        f"{known.evidence.jobs:,}",
        f"{known.evidence.accuracy_low:.3f}",
        f"{known.evidence.overruns} overruns, {known.evidence.refusals} refusals",
    )


@app.command()
def ratify(
    agent: Agent,
    *,
    key: SignKey,
    kind: Kind = "",
    lasting: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long, as 30d; as long as policy allows if none.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before signing.")] = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Sign the step that the log's evidence proposes for an agent, for a time."""
    person, state = petitioner(data, key), asyncio.run(_state(data))
    row = _row([each for each in _rows(state) if each.standing.proposed_digest], agent, kind)
    level, ladder, known = row.standing.proposed_level, state.ladder, row.standing.evidence
    if level > len(ladder.steps):
        raise Problem("the policy in force has no such step any more", "Look at: qpubus autonomy list")
    now_us = WallClock().now_us()
    statement = AutonomyStatement(
        site=person.site,
        agent=row.agent,
        action_class=row.kind,
        level=level,
        price_limit_microusd=ladder.steps[level - 1].price_limit_microusd,
        evidence_digest=row.standing.proposed_digest,
        expires_us=now_us + (span_us(lasting, "--for") if lasting else ladder.valid_us),
        nonce=nonce(),
    )
    if not json:
        show.facts(
            [
                ("agent", row.agent),
                ("class of action", row.kind),
                ("step", f"{level} of {len(ladder.steps)}, now {_level(row.standing, now_us)}"),
                ("asks nobody up to", show.usd(min(statement.price_limit_microusd, ladder.floor_microusd))),
                (
                    "evidence",
                    f"{known.jobs:,} jobs, accuracy ≥ {known.accuracy_low:.3f}",
                ),
                ("until", show.utc(statement.expires_us)),
            ]
        )
    if not yes and not typer.confirm("\nSign this step?", err=json):
        raise Problem("nothing was signed", code="not_signed")
    said = person.say(AutonomyGranted, statement=statement)
    if json:
        show.json({"agent": row.agent, "action_class": row.kind, "level": level} | said)
    else:
        show.say(f"\nRatified: {row.agent} stands on step {level} for {row.kind}.")


@app.command()
def revoke(
    agent: Agent,
    *,
    key: SignKey,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; the vault keeps it.")],
    kind: Kind = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Put an agent back on the lowest step for a class of action, at once."""
    person, state = petitioner(data, key), asyncio.run(_state(data))
    standing_somewhere = [each for each in _rows(state) if each.standing.level or each.standing.proposed_digest]
    row = _row(standing_somewhere, agent, kind)
    said = person.say(AutonomyRevoked, agent=row.agent, action_class=row.kind, reason=why)
    if json:
        show.json({"agent": row.agent, "action_class": row.kind} | said)
    else:
        show.say(f"Revoked: {row.agent} stands on the lowest step for {row.kind}.")


async def _state(data: Path) -> PolicyState:
    async with open_desk(data) as desk:
        return await standing(desk)


def _rows(state: PolicyState) -> Iterator[Row]:
    for agent, kinds in sorted(state.autonomy.standings.items()):
        for kind, each in sorted(kinds.items()):
            yield Row(agent, kind, each)


def _row(rows: list[Row], agent: str, kind: str) -> Row:
    fitting = [each for each in rows if each.agent == agent and kind in {"", each.kind}]
    if len(fitting) != 1:
        many = "nothing" if not fitting else "more than one class of action"
        raise Problem(
            f"there is {many} for {agent} here to sign",
            "See qpubus autonomy list; name the class with --class.",
            code="autonomy_unproposed",
        )
    return fitting[0]


def _level(known: Standing, now_us: int) -> int:
    return known.level if now_us < known.expires_us else 0
