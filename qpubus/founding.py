"""Founding a site: its keys, and the first events, all signed by the root key in one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus.keyfile import write_key
from schemas.admission import ROOT_SOURCE
from schemas.codec import own_schemas
from schemas.events import (
    BudgetSet,
    DevicePrice,
    KeyEnrolled,
    PolicyPublished,
    PriceListPublished,
    SchemaPublished,
    SiteFounded,
)
from schemas.keys import key_id, raw_public_key
from schemas.topics import Role
from schemas.words import Event
from streams.author import Draft, Scribe, seal_all
from streams.log.port import Log

CLASSICAL_SECOND_MICROUSD = 20
"""Assumption: a general-purpose core costs 0.07 USD an hour."""
SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who is enrolled when the site is founded, and the file name of their key."""

    source: str
    role: Role
    key_file: str
    devices: tuple[str, ...] = ()


def members(device_ids: Sequence[str], agent: str, approver: str) -> tuple[Member, ...]:
    """All who work at a site on one machine."""
    return (
        Member("gateway:main", Role.GATEWAY, "gateway.pem"),
        *(
            Member(f"stage:{role}", role, f"{role}.pem")
            for role in (Role.ORCHESTRATOR, Role.POLICY, Role.SCHEDULER, Role.GUARD)
        ),
        *(Member(f"device:{each}", Role.DEVICE, f"device-{each}.pem", (each,)) for each in device_ids),
        Member("sandbox:main", Role.SANDBOX, "sandbox.pem"),
        Member("clock:main", Role.CLOCK, "clock.pem"),
        Member("auditor:main", Role.AUDITOR, "auditor.pem"),
        Member("sealer:main", Role.SEALER, "sealer.pem"),
        Member("witness:main", Role.WITNESS, "witness.pem"),
        Member(agent, Role.AGENT, "agent.pem"),
        Member(approver, Role.APPROVER, "approver.pem"),
    )


def default_policy(device_ids: Sequence[str]) -> PolicyPublished:
    """Limits that suit a first proof of concept: everything dear goes to a human."""
    return PolicyPublished(
        policy_id="first-poc",
        shots_max=20_000_000,
        cost_max_microusd=10_000_000_000,
        approval_above_microusd=50_000_000,
        approval_timeout_us=24 * 3_600 * SECOND_US,
        offer_timeout_us=60 * SECOND_US,
        devices=tuple(device_ids),
        min_fidelity=0.9,
        max_snapshot_age_us=24 * 3_600 * SECOND_US,
        iterations_max=100,
        static_devices=tuple(device_ids),
    )


def make_keys(folder: Path, people: Sequence[Member]) -> dict[str, Ed25519PrivateKey]:
    """New keys for the root and every member, written to `folder` (mode 0700), by source."""
    folder.mkdir(mode=0o700, parents=True)
    keys = {source: Ed25519PrivateKey.generate() for source in (ROOT_SOURCE, *(each.source for each in people))}
    write_key(folder / "root.pem", keys[ROOT_SOURCE])
    for each in people:
        write_key(folder / each.key_file, keys[each.source])
    return keys


async def found_site(
    log: Log,
    site: str,
    *,
    keys: Mapping[str, Ed25519PrivateKey],
    people: Sequence[Member],
    prices: Sequence[DevicePrice],
    policy: PolicyPublished,
    budget_microusd: int,
    clock: Literal["wall", "virtual"],
    now_us: int,
    seed: int,
) -> None:
    """Append the first events of a site. Keys of a site on a virtual clock are marked `assurance: demo`."""
    root = keys[ROOT_SOURCE]
    schemas = {schema.event_type: schema for schema in own_schemas()}
    scribe = Scribe(ROOT_SOURCE, site, schemas)
    first: list[Event] = [
        SchemaPublished(schema_id=schema.schema_id, event_type=schema.event_type, text=schema.text)
        for schema in schemas.values()
    ]
    first.append(SiteFounded(clock=clock, epoch_us=now_us, seed=seed))
    first += [enrolment(each, keys[each.source], "demo" if clock == "virtual" else "file") for each in people]
    first += [
        policy,
        PriceListPublished(devices=tuple(prices), classical_second_microusd=CLASSICAL_SECOND_MICROUSD),
        BudgetSet(limit_microusd=budget_microusd, reason="founding"),
    ]
    written = [scribe.write(Draft("governance", event, site, now_us)) for event in first]
    await log.append(seal_all(written, root))


def enrolment(member: Member, key: Ed25519PrivateKey, assurance: Literal["demo", "file"]) -> KeyEnrolled:
    """The event that enrols a member's key."""
    public_key = raw_public_key(key)
    return KeyEnrolled(
        key_id=key_id(public_key),
        public_key=public_key,
        source=member.source,
        role=member.role,
        devices=member.devices,
        assurance=assurance,
    )
