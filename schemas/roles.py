"""`python -m schemas.roles` prints the page of roles: who holds which key, what it may write, and what it may read.

What may be written is the table of `schemas.topics`, which admission and the broker's access lists go by as well.
"""

from typing import NamedTuple

from schemas.topics import PEOPLE, STAGES, WRITERS, Role

OWN_SITE = "its own site's log"


class Duty(NamedTuple):
    """What a role is there for, what it may read, and what it may cause by statements that others carry."""

    purpose: str
    reads: str
    signs: str = ""


DUTIES: dict[Role, Duty] = {
    Role.ROOT: Duty("founds the site and is its trust anchor; belongs on no machine of the bus", OWN_SITE),
    Role.ADMIN: Duty("governs in the root's place", OWN_SITE),
    Role.GATEWAY: Duty("lets agents and people in, each by their own proof", OWN_SITE),
    Role.AGENT: Duty(
        "declares jobs and withdraws its own",
        "its own jobs; all jobs of its site where its key is enrolled with `reads: site`",
        "manifests, withdrawals, requests for calibrations",
    ),
    Role.APPROVER: Duty(
        "grants or denies what policy puts to people",
        "what waits for people, and the jobs of its site",
        "grants, denials, mandates, steps of autonomy, halts",
    ),
    Role.OPERATOR: Duty("stops a site, an agent or a device", "the jobs of its site", "halts and their lifting"),
    Role.ORCHESTRATOR: Duty("takes a job from step to step", OWN_SITE),
    Role.POLICY: Duty("admits, refuses, asks people, holds money", OWN_SITE),
    Role.SCHEDULER: Duty("chooses devices", OWN_SITE),
    Role.GUARD: Duty("stops a run that costs too much or loses its fidelity", OWN_SITE),
    Role.DEVICE: Duty("offers, reserves and runs one device, which its key names", OWN_SITE),
    Role.SANDBOX: Duty("runs programs", OWN_SITE),
    Role.CLOCK: Duty("tells that a time has come", OWN_SITE),
    Role.AUDITOR: Duty("runs jobs again and says how they compare; signs bundles", OWN_SITE),
    Role.SEALER: Duty("seals how far the log has grown", OWN_SITE),
    Role.WITNESS: Duty("cosigns what the sealer sealed, out of the operator's reach", "checkpoints alone"),
    Role.CALLBACKS: Duty("tells agents' own addresses that a job has ended", OWN_SITE),
}
"""What a role is for; every role is here."""

_HEAD = """# Roles

Every key is enrolled for one role, and this table is all that a role may do. `python -m schemas.roles` writes it from
the table by which every reader judges every record (`schemas/topics.py`), and by which the broker's access lists are
made. A record that its author's role may not write is refused, whoever appended it.

A stage decides and nothing else; a party acts and never decides; people and agents write nothing themselves: what they
sign is carried by the gateway, and checked again by whoever acts on it. No key speaks for two roles. A key of a device
speaks for that device alone, and an agent names the budget of a project only if its key was enrolled for it (`--duty`).
"""


def events_of(role: Role) -> dict[str, list[str]]:
    """The event types that a role may write, by topic."""
    found = {
        topic: [event_type.__name__ for event_type, roles in types.items() if role in roles]
        for topic, types in WRITERS.items()
    }
    return {topic: names for topic, names in found.items() if names}


def roles_page() -> str:
    """The page of roles in Markdown."""
    lines = [_HEAD, "| role | is there to | reads | signs, for others to carry | writes |", "|---|---|---|---|---|"]
    for role in Role:
        duty = DUTIES[role]
        writes = "; ".join(f"`{topic}`: {', '.join(names)}" for topic, names in events_of(role).items())
        kind = " (a stage)" if role in STAGES else " (people)" if role in PEOPLE else ""
        cells = (f"{role.value}{kind}", duty.purpose, duty.reads, duty.signs or "nothing", writes or "nothing")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(roles_page(), end="")  # noqa: T201 - a command of its own
