"""The calls of the local door: each goes to the front desk, and comes back as a plain document or as a refusal."""

import asyncio
import base64
import binascii
import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from qpubus.door import Call
from qpubus.governing import append_governance
from qpubus.ledger import GOVERNOR
from qpubus.problem import validation_text
from qpubus.refusal import Refusal
from qpubus.requests import (
    Declaration,
    Denial,
    Document,
    Governance,
    Grant,
    Nothing,
    Petitioned,
    Reason,
    Showing,
    Trial,
    Withdrawal,
)
from qpubus.web.caller import local_caller
from qpubus.web.desk import FrontDesk


def gateway_calls(desk: FrontDesk) -> Mapping[str, Call]:
    """What the door of a running machine answers. Who can open it may ask everything; proofs say who they are."""
    return {**_agents_calls(desk), **_peoples_calls(desk), **_operators_calls(desk)}


def _agents_calls(desk: FrontDesk) -> Mapping[str, Call]:
    caller = local_caller(desk.site)

    async def declare(asked: Declaration) -> Mapping[str, Any]:
        return await desk.declare(caller, asked.manifest.encode(), asked.agent_proof, asked.trace)

    async def dry_run(asked: Trial) -> Mapping[str, Any]:
        return await desk.quote(caller, asked.manifest.encode())

    async def withdraw(asked: Withdrawal) -> Mapping[str, Any]:
        return await desk.take_back(caller, asked.agent_proof)

    async def store_artifact(asked: Document) -> Mapping[str, Any]:
        try:
            content = base64.b64decode(asked.content, validate=True)
        except binascii.Error:
            raise Refusal("arguments_invalid", "content: it is not base64") from None
        return await desk.artifact_put(caller, content, asked.media_type)

    return {
        "declare": Call(Declaration, declare),
        "dry_run": Call(Trial, dry_run),
        "withdraw": Call(Withdrawal, withdraw),
        "store_artifact": Call(Document, store_artifact),
    }


def _peoples_calls(desk: FrontDesk) -> Mapping[str, Call]:
    caller = local_caller(desk.site)

    async def grant(asked: Grant) -> Mapping[str, Any]:
        proof = asked.proof.human()
        return await desk.answer(caller, asked.job_id, "grant", intent_digest=asked.intent_digest, proof=proof)

    async def deny(asked: Denial) -> Mapping[str, Any]:
        proof = asked.proof.human()
        return await desk.answer(
            caller, asked.job_id, "deny", intent_digest=asked.intent_digest, proof=proof, reason=asked.reason
        )

    async def present(asked: Showing) -> Mapping[str, Any]:
        return await desk.present(asked.job_id, asked.key_id)

    async def keep_reason(asked: Reason) -> Mapping[str, Any]:
        return {"reason": await desk.keep_reason(asked.about, asked.key_id, asked.text)}

    async def petition(asked: Petitioned) -> Mapping[str, Any]:
        try:
            said = asked.petition()
        except ValidationError as error:
            raise Refusal("arguments_invalid", validation_text(error)) from None
        except ValueError as error:
            raise Refusal("arguments_invalid", str(error)) from None
        return await desk.petition(said)

    return {
        "grant": Call(Grant, grant),
        "deny": Call(Denial, deny),
        "present": Call(Showing, present),
        "keep_reason": Call(Reason, keep_reason),
        "petition": Call(Petitioned, petition),
    }


def _operators_calls(desk: FrontDesk) -> Mapping[str, Call]:
    machine, governing = desk.machine, asyncio.Lock()

    async def govern(asked: Governance) -> Mapping[str, Any]:
        records = [each.record() for each in asked.records]
        async with governing:
            refused = await append_governance(
                machine.log_as(GOVERNOR), machine.site, machine.root_public_key, records, machine.clock.now_us()
            )
        if refused:
            raise Refusal(refused.reason, refused.detail)
        return {"appended": len(records)}

    async def status(_: Nothing) -> Mapping[str, Any]:
        return {
            "site": machine.site,
            "pid": os.getpid(),
            "devices": sorted(machine.fleet),
            "time_us": machine.clock.now_us(),
            "http": desk.public_url or None,
        }

    return {"govern": Call(Governance, govern), "status": Call(Nothing, status)}
