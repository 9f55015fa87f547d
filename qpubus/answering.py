"""A person's answer on its way: to the running bus with its signature, and back with what policy made of it."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from qpubus import show
from qpubus.door_client import ask
from qpubus.problem import Problem
from qpubus.reading import Desk
from qpubus.requests import Denial, Grant, Proof, Reason, Showing
from schemas.events import (
    ApprovalCounted,
    ApprovalRejected,
    ApprovalStatement,
    HumanProof,
    IntentAdmitted,
    IntentRefused,
)
from schemas.proofs import approval_payload
from streams.stage import Heard

VERDICT_S = 10.0
"""Policy answers in milliseconds; a bus that is catching up may need longer."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided: `grant` or `deny`, and why."""

    word: Literal["grant", "deny"]
    reason: str = ""

    def payload(self, statement: ApprovalStatement) -> bytes:
        """The very bytes that a person signs to say so."""
        return approval_payload(statement, self.word, self.reason)


def kept_reason(data: Path, about: str, key_name: str, text: str) -> str:
    """Have the running bus keep a reason in its vault; what is signed in its place, by the key of this name."""
    reason: str = ask(data, "keep_reason", Reason(about=about, key_id=key_name, text=text))["reason"]
    return reason


def kept(data: Path, job_id: str, key_name: str, decision: Decision) -> Decision:
    """A decision as it is signed: a reason is in the vault, where it can be erased."""
    if not decision.reason:
        return decision
    return replace(decision, reason=kept_reason(data, job_id, key_name, decision.reason))


def present(data: Path, job_id: str, key_name: str) -> None:
    """Tell the running bus that what a job asks is shown to the person of a key; refused if they may not answer it."""
    ask(data, "present", Showing(job_id=job_id, key_id=key_name))


def hand_in(data: Path, statement: ApprovalStatement, proof: HumanProof, decision: Decision) -> int:
    """Give a signature to the running bus; the time at which it went on the log."""
    said = {"job_id": statement.job_id, "intent_digest": statement.intent_digest, "proof": Proof.of(proof)}
    if decision.word == "grant":
        answered = ask(data, "grant", Grant.model_validate(said))
    else:
        answered = ask(data, "deny", Denial.model_validate(said | {"reason": decision.reason}))
    time_us: int = answered["time_us"]
    return time_us


Verdict = IntentAdmitted | IntentRefused | ApprovalRejected | ApprovalCounted


async def verdict_on(desk: Desk, job_id: str, since_us: int) -> Verdict:
    """What policy made of an answer that went on the log at `since_us`; `Problem` if it says nothing in time."""
    try:
        async with asyncio.timeout(VERDICT_S):
            return await _verdict(desk, job_id, since_us)
    except TimeoutError:
        raise Problem(
            f"your answer is on the log, but policy has said nothing for {VERDICT_S:g} s",
            f"Look again: qpubus job {job_id} --data {desk.directory}",
        ) from None


async def _verdict(desk: Desk, job_id: str, since_us: int) -> Verdict:
    async for items in desk.events(("governance", "approvals")):
        for item in items:
            if isinstance(item, Heard):
                match item.event:
                    case IntentAdmitted() | IntentRefused() as verdict if verdict.job_id == job_id:
                        return verdict
                    case ApprovalRejected() | ApprovalCounted() as verdict:
                        if verdict.job_id == job_id and item.time_us >= since_us:
                            return verdict
                    case _:
                        pass
    raise AssertionError("the events of a log do not end")


def tell(verdict: Verdict, decision: Decision, data: Path) -> None:
    """Say what became of an answer; `Problem` if it did not count, or the job was refused all the same."""
    job_id = verdict.job_id
    match verdict:
        case IntentAdmitted():
            show.say(f"Signed and counted: {job_id} may run. Follow it: qpubus job {job_id} --data {data}")
        case ApprovalCounted():
            missing = f", {' and '.join(verdict.missing_duties)} among them" if verdict.missing_duties else ""
            show.say(
                f"Signed and counted: {verdict.persons} of {max(verdict.quorum, verdict.persons)} persons have said "
                f"yes. {job_id} waits for others{missing}."
            )
        case IntentRefused() if decision.word == "deny" and verdict.reason == "denied":
            show.say(f"Signed and counted: {job_id} will not run.")
        case IntentRefused():
            raise Problem(
                f"your signature counted, but {job_id} was refused: {verdict.message} ({verdict.reason})",
                code=verdict.reason,
            )
        case ApprovalRejected():
            raise Problem(f"your signature does not count: {verdict.message} ({verdict.reason})", code=verdict.reason)
