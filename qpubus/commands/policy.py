"""The rules by which agents are let run: `policy list`, `show`, `check`, `publish`, `what-if`."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from qpubus import show
from qpubus.bars import Counted, counted
from qpubus.commands.options import DEFAULT_DATA, Data, Governor, Json, Root, trusted_root
from qpubus.governing import govern, open_register
from qpubus.keyfile import read_key
from qpubus.ledger import open_copy
from qpubus.place import Place
from qpubus.policy_set import BUILT_IN, PolicySet, check, load
from qpubus.problem import EXIT_REFUSED, Problem
from qpubus.reading import open_desk
from qpubus.tables import table
from replay.audit import roots_of
from replay.whatif import WhatIf, what_if
from schemas.events import PolicyPublished
from schemas.topics import Role
from streams.policy.cedar import Rules, read_rules
from streams.stage import Heard

app = typer.Typer(
    name="policy", help="The rules for agents.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

PolicyFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="NAME.cedar with NAME.toml beside it, a directory that has one, or first-poc, bank, lab."
    ),
]
_CHANGES_SHOWN = 20


class Published(NamedTuple):
    """A policy on the log."""

    event: PolicyPublished
    digest: str
    time_us: int


@app.callback()
def policy() -> None:
    """The rules by which agents are let run, written by people, checked before they go live, tried on real history."""


@app.command(name="list")
def list_policies(*, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """List the policies that were ever published here; the last one is in force."""
    published = asyncio.run(_published(data))
    if json:
        show.json([_document(each, in_force=each is published[-1]) for each in published])
        return
    rows = [
        (
            each.event.policy_id,
            "in force" if each is published[-1] else "replaced",
            f"{_rule_count(each.event)} rules" if each.event.rules else "limits alone",
            show.utc(each.time_us),
            each.digest,
        )
        for each in published
    ]
    table(("policy", "state", "kind", "published", "digest"), rows)
    show.say(f"\nThat come with us, to begin with: {', '.join(sorted(path.stem for path in BUILT_IN.glob('*.cedar')))}")


@app.command(name="show")
def show_policy(
    name: Annotated[str, typer.Argument(metavar="[DIGEST]", help="Its digest or first digits; none: in force.")] = "",
    *,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Show a policy: its settings, what it says of devices, and the text of its rules."""
    published = asyncio.run(_published(data))
    fitting = [each for each in published if each.digest.startswith(name)][-1:]
    if not fitting:
        raise Problem(
            f"no policy with the digest {name} was published here", f"List them: qpubus policy list --data {data}"
        )
    [found] = fitting
    if json:
        show.json(_document(found, in_force=found is published[-1]))
        return
    said = found.event
    show.facts(
        [
            ("policy", said.policy_id),
            ("digest", found.digest),
            ("in force", "yes" if found is published[-1] else "no"),
            ("published", show.utc(found.time_us)),
            ("requests expire", f"after {show.duration(said.approval_timeout_us)}"),
            ("least fidelity", f"{said.min_fidelity} on the qubits used"),
            ("calibration", f"at most {show.duration(said.max_snapshot_age_us)} old"),
        ]
    )
    facts = {each.device: each for each in said.device_facts}
    rows = [
        (each, ("cloud" if fact.is_cloud else "on premises"), fact.region, fact.emulates)
        if (fact := facts.get(each))
        else (each, "not said: counts as cloud", "", "")
        for each in said.devices
    ]
    show.say("")
    table(("device", "where", "region", "emulates"), rows)
    show.say(f"\n{show.printable(said.rules, lines=True)}" if said.rules else "\nIt has no rules, only limits.")


@app.command(name="check")
def check_policy(file: PolicyFile, *, json: Json = False) -> None:
    """Hold a policy's rules strictly to the schema, and run the examples that stand beside it. Exit 1 if it fails."""
    policy_set = load(file)
    findings = check(policy_set)
    if json:
        show.json({"policy": policy_set.name, "holds": not findings, "findings": [each._asdict() for each in findings]})
    else:
        for each in findings:
            show.say(str(each))
        show.say(_checked(policy_set) if not findings else f"{policy_set.name} does not hold: {len(findings)} faults")
    if findings:
        raise typer.Exit(EXIT_REFUSED)


@app.command()
def publish(
    file: PolicyFile,
    *,
    key: Governor = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Put a policy in force from here on. One that `policy check` faults is refused."""
    policy_set = load(file)
    findings = check(policy_set)
    if findings:
        raise Problem(
            f"{policy_set.name} was not published: {'; '.join(map(str, findings))}",
            f"Mend it and look again: qpubus policy check {file}",
            code="policy_invalid",
        )
    governor = read_key(key or Place(data).key("root"))
    register = asyncio.run(open_register(data))
    event = policy_set.event()
    asyncio.run(govern(data, register, governor, [(event, ())], subject=event.policy_id))
    lacking = _lacking_people(event, [each.enrolled for each in register.entries.values() if not each.revoked])
    if json:
        show.json({"published": event.policy_id, "rules": _rule_count(event), "lacking_people": lacking})
        return
    show.say(f"{event.policy_id} is in force, with {_rule_count(event)} rules.")
    for each in lacking:
        show.say(f"note: {each}")


@app.command(name="what-if")
def try_policy(file: PolicyFile, *, data: Data = DEFAULT_DATA, root: Root = None, json: Json = False) -> None:
    """Replay the recorded history under a changed policy: which verdicts would differ, whose jobs, how much money.

    Nothing is written. Each intent is judged as of when it was declared; history itself stays as it was.
    """
    policy_set = load(file)
    event = policy_set.event()
    findings = [each for each in check(policy_set) if not each.file.endswith(".examples.toml")]
    if findings:
        raise Problem(
            "; ".join(map(str, findings)), f"Mend it first: qpubus policy check {file}", code="policy_invalid"
        )
    with counted("decisions", quiet=json) as progress:
        found = asyncio.run(_try(data, trusted_root(root), event, progress))
    if json:
        show.json(_what_if_document(found))
    else:
        _tell(found, event)


async def _try(data: Path, root: bytes | None, event: PolicyPublished, progress: Counted | None) -> WhatIf:
    with open_copy(data) as log:
        return await what_if(log, await roots_of(log, root), event, progress)


async def _published(data: Path) -> list[Published]:
    """The policies on a site's log, oldest first."""
    found = []
    async with open_desk(data) as desk:
        async for items in desk.events(("governance",)):
            if not items:
                break
            found += [
                Published(item.event, item.digest, item.time_us)
                for item in items
                if isinstance(item, Heard) and isinstance(item.event, PolicyPublished)
            ]
    return found


def _document(published: Published, *, in_force: bool) -> dict[str, Any]:
    said = published.event.model_dump(mode="json")
    return {"digest": published.digest, "published_us": published.time_us, "in_force": in_force, **said}


def _checked(policy_set: PolicySet) -> str:
    event = policy_set.event()
    return f"{policy_set.name} holds: {_rule_count(event)} rules, {len(policy_set.examples)} examples"


def _rule_count(event: PolicyPublished) -> int:
    read = read_rules(event.rules, event.rules_schema) if event.rules else None
    return len(read.by_name) if isinstance(read, Rules) else 0


def _lacking_people(event: PolicyPublished, enrolled: list[Any]) -> list[str]:
    """Gates that nobody here could open, by who is enrolled as an approver."""
    people = {each.source: set(each.duties) for each in enrolled if each.role == Role.APPROVER.value}
    duties = set().union(*people.values())
    read = read_rules(event.rules, event.rules_schema)
    rules = read.by_name.values() if isinstance(read, Rules) else ()
    lacking = []
    for rule in rules:
        if rule.gate is None:
            continue
        missing = sorted(set(rule.gate.duties) - duties)
        if rule.gate.persons > len(people):
            lacking.append(f"{rule.id} asks for {rule.gate.persons} persons, {len(people)} approvers are enrolled")
        if missing:
            lacking.append(f"{rule.id} asks for {' and '.join(missing)}, and no approver is enrolled with that duty")
    return lacking


def _what_if_document(found: WhatIf) -> dict[str, Any]:
    return {
        "decisions": found.decisions,
        "differ": len(found.changes),
        "ceiling_microusd": sum(each.ceiling_microusd for each in found.agents.values()),
        "spent_microusd": sum(each.spent_microusd for each in found.agents.values()),
        "agents": {
            agent: {
                "decisions": each.intents,
                "differ": each.differ,
                "ceiling_microusd": each.ceiling_microusd,
                "spent_microusd": each.spent_microusd,
            }
            for agent, each in sorted(found.agents.items())
        },
        "changes": [
            {name: getattr(each, name) for name in each.__dataclass_fields__} for each in found.changes.values()
        ],
    }


def _tell(found: WhatIf, event: PolicyPublished) -> None:
    show.say(f"{found.decisions:,} decisions, {len(found.changes):,} would differ under {event.policy_id}.")
    if not found.changes:
        return
    rows = [
        (
            agent,
            f"{each.intents:,}",
            ", ".join(f"{count:,} {kind}" for kind, count in sorted(each.differ.items())) or "none",
            show.usd(each.ceiling_microusd),
            show.usd(each.spent_microusd),
        )
        for agent, each in sorted(found.agents.items())
    ]
    show.say("")
    table(("agent", "decisions", "would differ", "price ceilings", "really spent"), rows, right=("decisions",))
    shown = list(found.changes.values())[:_CHANGES_SHOWN]
    show.say("")
    table(
        ("job", "declared", "was", "would be", "rules", "ceiling"),
        [
            (
                each.job_id,
                show.utc(each.time_us),
                each.was,
                each.would_be,
                ", ".join(each.rules) or "limits",
                show.usd(each.price_ceiling_microusd),
            )
            for each in shown
        ],
        right=("ceiling",),
    )
    if len(found.changes) > len(shown):
        show.say(f"... and {len(found.changes) - len(shown):,} more: --json has them all")
