"""Founding a site: a data directory, its keys, and the first events, all signed by the root key in one batch.

It is done in one go: the keys first, durably, then the log together with its first events. Until the log is in its
place there is no site, and a founding that was killed is begun again with the keys that it had made.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.devices.profiles import PROFILES, TWINS, device_price
from qpubus.keyfile import read_key, replace_key
from qpubus.place import Place
from qpubus.policy_set import built_in
from qpubus.problem import Problem
from schemas.admission import ROOT_SOURCE, Stored
from schemas.codec import own_schemas
from schemas.envelope import Record
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
from schemas.topics import TOPICS, Role
from schemas.words import Event
from streams.author import Draft, Scribe, seal_all
from streams.disk import put, sync_directory
from streams.log.database import Settings
from streams.log.head import RootMemory
from streams.log.making import new_log
from streams.log.port import Log
from streams.log.reading import DATABASE, HEAD

CLASSICAL_SECOND_MICROUSD = 20
"""Assumption: a general-purpose core costs 0.07 USD an hour."""
SECOND_US = 1_000_000
_TOPIC = "governance"


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who is enrolled when the site is founded, and the file name of their key."""

    source: str
    role: Role
    key_file: str
    devices: tuple[str, ...] = ()


def members(device_ids: Sequence[str], agent: str, approver: str, operator: str = "") -> tuple[Member, ...]:
    """All who work at a site on one machine; an operator only where one is named."""
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
        Member("callbacks:main", Role.CALLBACKS, "callbacks.pem"),
        Member(agent, Role.AGENT, "agent.pem"),
        Member(approver, Role.APPROVER, "approver.pem"),
        *((Member(operator, Role.OPERATOR, "operator.pem"),) if operator else ()),
    )


def default_policy(device_ids: Sequence[str]) -> PolicyPublished:
    """The limits of a first proof of concept without its rules: everything dear goes to a human."""
    return PolicyPublished(
        policy_id="first-limits",
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


class Beginning(TypedDict):
    """What the first events of a site say."""

    keys: Mapping[str, Ed25519PrivateKey]
    people: Sequence[Member]
    prices: Sequence[DevicePrice]
    policy: PolicyPublished
    budget_microusd: int
    clock: Literal["wall", "virtual"]
    now_us: int
    seed: int


def first_records(site: str, **said: Unpack[Beginning]) -> list[Record]:
    """The first events of a site. Keys of a site on a virtual clock are marked `assurance: demo`."""
    keys, clock, now_us = said["keys"], said["clock"], said["now_us"]
    schemas = {schema.event_type: schema for schema in own_schemas()}
    scribe = Scribe(ROOT_SOURCE, site, schemas)
    first: list[Event] = [
        SchemaPublished(schema_id=schema.schema_id, event_type=schema.event_type, text=schema.text)
        for schema in schemas.values()
    ]
    first.append(SiteFounded(clock=clock, epoch_us=now_us, seed=said["seed"]))
    first += [enrolment(each, keys[each.source], "demo" if clock == "virtual" else "file") for each in said["people"]]
    first += [
        said["policy"],
        PriceListPublished(devices=tuple(said["prices"]), classical_second_microusd=CLASSICAL_SECOND_MICROUSD),
        BudgetSet(limit_microusd=said["budget_microusd"], reason="founding"),
    ]
    return seal_all([scribe.write(Draft(_TOPIC, event, site, now_us)) for event in first], keys[ROOT_SOURCE])


async def found_site(log: Log, site: str, **said: Unpack[Beginning]) -> None:
    """Append the first events of a site to a log that stands already."""
    await log.append(first_records(site, **said))


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


@dataclass(frozen=True, slots=True)
class Founding:
    """What a new site is made of. A virtual clock starts at `epoch_us` and never meets the wall's."""

    site: str
    agent: str
    approver: str
    clock: Literal["wall", "virtual"]
    epoch_us: int
    seed: int
    budget_microusd: int
    operator: str = ""
    policy: str = "first-poc"


def is_founded(place: Place) -> bool:
    """Whether there is a site: the log is the last that is put in its place, and has its first events by then."""
    if not place.has_log:
        return False
    place.founding.unlink(missing_ok=True)
    return True


def is_broken_off(place: Place) -> bool:
    """Whether a founding was begun here and not ended; `found` ends it, with the keys that it has made already."""
    return place.founding.exists() and not is_founded(place)


def found(place: Place, founding: Founding) -> None:
    """Found a site in a data directory that has none: keys, trust anchor and log, or nothing that counts.

    What a killed founding left is used. Keys that no founding left are somebody's, and are not touched.
    """
    with new_log(place.directory, Settings(secrets.token_hex(16), 1, TOPICS)) as new:
        for offset, record in enumerate(prepared(place, founding)):
            new.take(Stored(_TOPIC, 0, offset, founding.epoch_us, record))
    sync_directory(place.directory.parent)
    place.founding.unlink(missing_ok=True)


def prepared(place: Place, founding: Founding) -> list[Record]:
    """The first events of a site whose keys and trust anchor lie in `place` by now; the log is all that is missing."""
    _begin(place)
    policy = built_in(founding.policy)
    profiles = PROFILES | {name: twin for name, twin in TWINS.items() if name in policy.settings.devices}
    people = members(tuple(profiles), founding.agent, founding.approver, founding.operator)
    keys = _make_keys(place, people)
    RootMemory(place.directory).write(raw_public_key(keys[ROOT_SOURCE]))
    return first_records(
        founding.site,
        keys=keys,
        people=people,
        prices=[device_price(profile) for profile in profiles.values()],
        policy=policy.event(tuple(profiles)),
        budget_microusd=founding.budget_microusd,
        clock=founding.clock,
        now_us=founding.epoch_us,
        seed=founding.seed,
    )


def _begin(place: Place) -> None:
    """Note that a founding begins, so that what it leaves when it is killed can be told from a site without its log."""
    if place.founding.exists():
        return
    for path in (place.keys, place.root_public_key):
        if path.exists():
            raise Problem(
                f"{path} is there, but no log: the site in {place.directory} seems to have lost it",
                f"Restore {DATABASE} and {HEAD} from a copy, or name another data directory. Nothing was changed.",
            )
    put(place.founding, b"A site is being founded here, or its founding was broken off: begin it again.\n")


def _make_keys(place: Place, people: Sequence[Member]) -> dict[str, Ed25519PrivateKey]:
    """The keys of the root and every member by source, in a folder of mode 0700, and the trust anchor: all durable."""
    place.keys.mkdir(mode=0o700, exist_ok=True)
    files = {ROOT_SOURCE: "root.pem"} | {each.source: each.key_file for each in people}
    for name in files.values():
        if not (place.keys / name).exists():
            replace_key(place.keys / name, Ed25519PrivateKey.generate())
    keys = {source: read_key(place.keys / name) for source, name in files.items()}
    sync_directory(place.keys)
    put(place.root_public_key, raw_public_key(keys[ROOT_SOURCE]).hex().encode() + b"\n")
    return keys
