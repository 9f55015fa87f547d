"""What rules are asked: a wish and what policy knows go in, one Cedar request a device comes out.

The names are those of `schemas/policy.cedarschema`. Every attribute is always there: what is not known takes the value
that a careful rule refuses, and the schema says which.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import cedarpy
import orjson

from schemas.digests import sha256_hex
from schemas.events import DeviceFacts, PolicyPublished
from streams.policy.cedar import GRANTED, Request, entities_of
from streams.policy.rates import Asked
from streams.policy.state import PolicyState
from streams.policy.wish import Wish

_ACTION = {"type": "Action", "id": "run"}
NEVER_S = (1 << 53) - 1
"""The age of a calibration that is not known."""
_MOST = (1 << 62) - 1
"""The largest sum that is told: Cedar's numbers have 64 bits, and one that is larger would be no request at all."""
_SECOND_US = 1_000_000
_HOUR_US = 3_600 * _SECOND_US
_DAY_US = 24 * _HOUR_US
_THURSDAY = 4
"""1970 began on one."""
_POLICIES_KEPT = 16


def contexts(
    state: PolicyState, wish: Wish, devices: Sequence[str], time_us: int, recent: Asked
) -> dict[str, dict[str, Any]]:
    """The context of a wish, classified, for each device before any grant; `recent` is what `asked_before` says."""
    level, up_to_microusd = state.autonomy.in_force(wish, time_us, state.ladder)
    job: dict[str, Any] = {
        "purpose": wish.purpose,
        "project": wish.project,
        "objective": wish.objective,
        "dataClass": wish.data_class,
        "costMicrousd": wish.price_ceiling_microusd,
        "shots": wish.shots,
        "runShots": wish.run_shots,
        "iterations": wish.iterations,
        "programs": len(wish.program_digests),
        "isolation": state.devices.isolation,
        "assurance": wish.assurance,
        "intentsLastHour": recent.intents,
        "shotsLastHour": min(recent.shots, _MOST),
        "costLastHourMicrousd": min(recent.cost_microusd, _MOST),
        "autonomyLevel": level,
        "autonomyUpToMicrousd": up_to_microusd,
        "hour": time_us % _DAY_US // _HOUR_US,
        "weekday": (time_us // _DAY_US + _THURSDAY - 1) % 7 + 1,
        GRANTED: False,
    }
    facts = state.policy.device_facts if state.policy else ()
    emulators = [each.device for each in facts if each.emulates]
    asked = {}
    for device in devices:
        asked[device] = context = dict(job)
        context.update(_calibration(state, device, time_us))
        context["rehearsed"] = device in emulators or state.devices.is_rehearsed(wish, device)
        context["mandated"] = bool(state.mandates.covering(wish, device, time_us))
    return asked


def asked_before(state: PolicyState, wish: Wish, time_us: int, *, is_counted: bool) -> Asked:
    """What an agent asked for in the last hour, this wish left out; `is_counted`: it was counted already."""
    recent = state.rates.last_hour(wish.initiator, time_us)
    if not is_counted:
        return recent
    return Asked(
        recent.minute,
        max(0, recent.intents - 1),
        max(0, recent.shots - wish.shots),
        max(0, recent.cost_microusd - wish.price_ceiling_microusd),
    )


def request_of(agent: str, device: str, context: Mapping[str, object]) -> Request:
    """One request as the engine takes it."""
    return {
        "principal": {"type": "Agent", "id": agent},
        "action": _ACTION,
        "resource": {"type": "Device", "id": device},
        "context": orjson.dumps(context).decode(),
    }


def input_digest(agent: str, asked: dict[str, dict[str, Any]], policy_digest: str) -> str:
    """The digest of all that rules were asked by: SHA-256 of JSON with sorted names, RFC 8785 for these values.

    The devices' facts are part of the policy, and so named by its digest.
    """
    document = {"principal": agent, "action": "run", "devices": asked, "policy": policy_digest}
    return sha256_hex(orjson.dumps(document, option=orjson.OPT_SORT_KEYS))


def entities(policy: PolicyPublished) -> cedarpy.Entities:
    """The devices of a policy, with what it says of them."""
    return _entities(policy.devices, policy.device_facts)


@lru_cache(_POLICIES_KEPT)
def _entities(devices: tuple[str, ...], said: tuple[DeviceFacts, ...]) -> cedarpy.Entities:
    facts = {each.device: each for each in said}
    unknown = DeviceFacts(device="unknown", is_cloud=True)
    return entities_of(
        orjson.dumps([_entity(device, facts.get(device, unknown)) for device in dict.fromkeys(devices)]).decode()
    )


def _entity(device: str, facts: DeviceFacts) -> dict[str, Any]:
    return {
        "uid": {"type": "Device", "id": device},
        "attrs": {"cloud": facts.is_cloud, "region": facts.region, "emulator": bool(facts.emulates)},
        "parents": [],
    }


def _calibration(state: PolicyState, device: str, time_us: int) -> dict[str, Any]:
    known = state.devices.calibrations.get(device)
    if known is None:
        return {"calibrationAgeS": NEVER_S, "fidelityPpm": 0, "topology": ""}
    return {
        "calibrationAgeS": max(0, time_us - known.taken_us) // _SECOND_US,
        "fidelityPpm": known.fidelity_ppm,
        "topology": known.topology,
    }
