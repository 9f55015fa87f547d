"""The calls of the local door: each goes to the gateway, and comes back as a plain document or as a refusal."""

import asyncio
import base64
import binascii
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from agents import replies
from qpubus.door import Call, Refused
from qpubus.governing import append_governance
from qpubus.requests import Declaration, Denial, Document, Governance, Grant, Nothing, Trial, Withdrawal
from qpubus.wiring import Machine
from schemas.manifest import plain

Reply = TypeVar("Reply")


def gateway_calls(machine: Machine) -> Mapping[str, Call]:
    """What the door of a running machine answers."""

    async def declare(asked: Declaration) -> Mapping[str, Any]:
        receipt = _kept(await machine.gateway.declare(asked.manifest.encode(), asked.agent_proof, asked.trace))
        return receipt._asdict() | {"manifest": plain(receipt.manifest)}

    async def dry_run(asked: Trial) -> Mapping[str, Any]:
        return _trial(_kept(await machine.gateway.dry_run(asked.manifest.encode())))

    async def grant(asked: Grant) -> Mapping[str, Any]:
        return _kept(await machine.gateway.grant(_answer(asked)))._asdict()

    async def deny(asked: Denial) -> Mapping[str, Any]:
        return _kept(await machine.gateway.deny(_answer(asked), asked.reason))._asdict()

    async def withdraw(asked: Withdrawal) -> Mapping[str, Any]:
        return _kept(await machine.gateway.withdraw(asked.agent_proof))._asdict()

    async def store_artifact(asked: Document) -> Mapping[str, Any]:
        try:
            content = base64.b64decode(asked.content, validate=True)
        except binascii.Error:
            raise Refused("arguments_invalid", "content: it is not base64") from None
        return _kept(await machine.gateway.store_artifact(content, asked.media_type))._asdict()

    governing = asyncio.Lock()

    async def govern(asked: Governance) -> Mapping[str, Any]:
        records = [each.record() for each in asked.records]
        async with governing:
            refused = await append_governance(
                machine.log, machine.site, machine.root_public_key, records, machine.clock.now_us()
            )
        if refused:
            raise Refused(refused.reason, refused.detail)
        return {"appended": len(records)}

    async def status(_: Nothing) -> Mapping[str, Any]:
        return {
            "site": machine.site,
            "pid": os.getpid(),
            "devices": sorted(machine.fleet),
            "time_us": machine.clock.now_us(),
        }

    return {
        "declare": Call(Declaration, declare),
        "dry_run": Call(Trial, dry_run),
        "grant": Call(Grant, grant),
        "deny": Call(Denial, deny),
        "withdraw": Call(Withdrawal, withdraw),
        "store_artifact": Call(Document, store_artifact),
        "govern": Call(Governance, govern),
        "status": Call(Nothing, status),
    }


def _kept(reply: Reply | replies.Refused) -> Reply:
    """A reply that is no refusal."""
    if isinstance(reply, replies.Refused):
        raise Refused(reply.code, reply.message)
    return reply


def _answer(asked: Grant) -> replies.Answer:
    return replies.Answer(asked.job_id, asked.intent_digest, asked.key_id, bytes.fromhex(asked.signature))


def _trial(trial: replies.DryRun) -> dict[str, Any]:
    placement = trial.placement
    return {
        "verdict": trial.verdict,
        "rule": trial.rule,
        "message": trial.message,
        "price_microusd": trial.price_microusd,
        "price_ceiling_microusd": trial.price_ceiling_microusd,
        "device": placement.offer.device if placement.offer else None,
        "why": placement.why,
        "candidates": [plain(each) for each in placement.candidates],
        "offers": [plain(each) for each in trial.offers],
        "standard_errors": dict(trial.standard_errors),
    }
