"""Grants, denials and withdrawals at the gateway: a proof that holds is carried on, any other never reaches the log."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agents.approver import Approver
from agents.client import RequestingAgent
from agents.gateway import Gateway
from agents.replies import Outcome, Receipt, Refused, Said
from schemas.admission import ROOT_SOURCE
from schemas.events import (
    ApprovalDenied,
    ApprovalGranted,
    ApprovalStatement,
    IntentRefused,
    IntentWithdrawn,
    JobCompleted,
    KeyRevoked,
    Observable,
    ResultRecorded,
)
from schemas.keys import key_id, raw_public_key
from schemas.people import PersonKey
from schemas.proofs import approval_holds
from streams.policy import POLICY
from streams.worker import Site, Worker
from tests.support.bell import bell_manifest
from tests.support.town import AGENT, APPROVER, SITE, STRANGER, Town, new_town

DEAR = {"budget__cost_microusd": 90_000_000}
"""Above what policy lets pass without a person."""


def policy_of(town: Town) -> Worker:
    root = raw_public_key(town.keys[ROOT_SOURCE])
    return Worker(POLICY, town.log, 0, {SITE: Site(root, town.keys["stage:policy"])})


async def settle(*parts: Worker | Gateway) -> None:
    """Give parts their turns until none has work."""
    while any([await part.step() for part in parts]):
        pass


def while_waiting(directory: Path, scenario: Callable[[Town, Gateway, ApprovalStatement], Awaitable[None]]) -> None:
    """Run a scenario in which a job waits for a person."""

    async def run() -> None:
        town = await new_town(directory)
        await town.run(town.device())
        gateway = town.gateway()
        receipt = await town.agent.submit(gateway, bell_manifest(**DEAR))
        assert isinstance(receipt, Receipt)
        await settle(policy_of(town))
        (pending,) = await gateway.approvals()
        await scenario(town, gateway, pending.statement)

    asyncio.run(run())


def code_of(answer: Said | Refused) -> str:
    assert isinstance(answer, Refused)
    return answer.code


def test_what_waits_for_a_person_is_listed_with_its_rule(tmp_path: Path) -> None:
    async def scenario(_: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        (pending,) = await gateway.approvals()
        assert (pending.job_id, pending.rule) == ("bell-1", "price_asks_human@1")
        assert statement.price_ceiling_microusd == 90_000_000

    while_waiting(tmp_path, scenario)


def test_a_grant_is_appended_with_the_persons_proof(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        said = await gateway.grant(town.approver.grant(statement))
        assert isinstance(said, Said)
        (granted,) = await town.events(ApprovalGranted)
        key = PersonKey(raw_public_key(town.keys[APPROVER]))
        assert approval_holds(statement, "grant", "", granted.proof, key)

    while_waiting(tmp_path, scenario)


def test_a_grant_handed_in_again_is_not_appended_again(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        first = await gateway.grant(town.approver.grant(statement))
        assert await gateway.grant(town.approver.grant(statement)) == first
        assert len(await town.events(ApprovalGranted)) == 1

    while_waiting(tmp_path, scenario)


def test_once_granted_a_job_cannot_be_denied(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        await gateway.grant(town.approver.grant(statement))
        late = await gateway.deny(town.approver.deny(statement, "changed my mind"), "changed my mind")
        assert code_of(late) == "approval_answered"
        assert await town.events(ApprovalDenied) == []

    while_waiting(tmp_path, scenario)


def test_a_denial_and_its_reason_reach_the_agent(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        await gateway.deny(town.approver.deny(statement, "too dear"), "too dear")
        await settle(policy_of(town))
        assert await gateway.outcome("bell-1") == Outcome("refused", "denied", "too dear", None)

    while_waiting(tmp_path, scenario)


def test_a_denial_with_a_kept_reason_gives_the_agent_its_pointer_alone(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        pointer = await gateway.keep_reason("bell-1", key_id(raw_public_key(town.keys[APPROVER])), "too dear")
        assert isinstance(pointer, str)
        await gateway.deny(town.approver.deny(statement, pointer), pointer)
        await settle(policy_of(town))
        assert await gateway.outcome("bell-1") == Outcome("refused", "denied", pointer, None)
        assert town.vault.told(pointer) == "too dear"

    while_waiting(tmp_path, scenario)


@pytest.mark.parametrize("other", ["approver:stranger", APPROVER])
def test_a_pointer_to_no_reason_of_their_own_is_refused(tmp_path: Path, other: str) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        pointer = town.vault.keep_reason("too dear", other, "bell-1")
        if other == APPROVER:
            town.vault.erase(other)
        assert code_of(await gateway.deny(town.approver.deny(statement, pointer), pointer)) == "reason_missing"
        assert await town.events(ApprovalDenied) == []

    while_waiting(tmp_path, scenario)


def test_a_denial_needs_a_reason(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        assert code_of(await gateway.deny(town.approver.deny(statement, " "), " ")) == "reason_missing"

    while_waiting(tmp_path, scenario)


def test_a_reason_that_was_not_signed_is_refused(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        answer = await gateway.deny(town.approver.deny(statement, "too dear"), "too cheap")
        assert code_of(answer) == "approval_proof_invalid"

    while_waiting(tmp_path, scenario)


def test_a_grant_for_another_price_is_refused(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        cheaper = statement.model_copy(update={"price_ceiling_microusd": 1})
        assert code_of(await gateway.grant(town.approver.grant(cheaper))) == "approval_proof_invalid"
        assert await town.events(ApprovalGranted) == []

    while_waiting(tmp_path, scenario)


def test_an_agents_key_grants_nothing(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        answer = await gateway.grant(Approver(AGENT, town.keys[AGENT]).grant(statement))
        assert code_of(answer) == "role_forbidden"

    while_waiting(tmp_path, scenario)


def test_a_revoked_key_grants_nothing(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        await town.say("root", KeyRevoked(key_id=key_id(raw_public_key(town.keys[APPROVER])), reason="left"))
        assert code_of(await gateway.grant(town.approver.grant(statement))) == "key_revoked"

    while_waiting(tmp_path, scenario)


def test_a_grant_after_the_statement_expired_is_refused(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        town.clock.advance_to(statement.expires_us)
        assert code_of(await gateway.grant(town.approver.grant(statement))) == "approval_expired"

    while_waiting(tmp_path, scenario)


def test_a_job_that_waits_for_nobody_cannot_be_granted(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        await gateway.deny(town.approver.deny(statement, "no"), "no")
        await settle(policy_of(town))
        assert code_of(await gateway.grant(town.approver.grant(statement))) == "approval_not_waiting"

    while_waiting(tmp_path, scenario)


def test_an_unknown_job_is_named_as_such(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        other = town.approver.grant(statement)._replace(job_id="never-declared")
        assert code_of(await gateway.grant(other)) == "job_unknown"

    while_waiting(tmp_path, scenario)


def test_an_agent_withdraws_its_own_job(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, _: ApprovalStatement) -> None:
        said = await gateway.withdraw(town.agent.withdrawal("bell-1", "no longer needed"))
        assert isinstance(said, Said)
        (withdrawn,) = await town.events(IntentWithdrawn)
        assert withdrawn.reason == "no longer needed"
        assert await gateway.withdraw(town.agent.withdrawal("bell-1", "no longer needed")) == said

    while_waiting(tmp_path, scenario)


def test_a_stranger_withdraws_nothing(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, _: ApprovalStatement) -> None:
        stranger = RequestingAgent(STRANGER, town.keys[STRANGER])
        assert code_of(await gateway.withdraw(stranger.withdrawal("bell-1", "spite"))) == "initiator_mismatch"
        assert await town.events(IntentWithdrawn) == []

    while_waiting(tmp_path, scenario)


@pytest.mark.parametrize("token", ["", "a.b.c", "{}"], ids=["empty", "nonsense", "json"])
def test_a_withdrawal_without_a_proof_is_refused(tmp_path: Path, token: str) -> None:
    async def scenario(_: Town, gateway: Gateway, __: ApprovalStatement) -> None:
        assert code_of(await gateway.withdraw(token)) == "proof_malformed"

    while_waiting(tmp_path, scenario)


def test_an_intents_proof_is_no_withdrawal(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, _: ApprovalStatement) -> None:
        assert code_of(await gateway.withdraw(town.agent.sign(bell_manifest()))) == "proof_invalid"

    while_waiting(tmp_path, scenario)


def test_a_job_that_has_ended_cannot_be_withdrawn(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, statement: ApprovalStatement) -> None:
        refused = IntentRefused(job_id="bell-1", intent_digest=statement.intent_digest, reason="denied", message="no")
        await town.say("stage:policy", refused)
        assert code_of(await gateway.withdraw(town.agent.withdrawal("bell-1", "late"))) == "job_ended"

    while_waiting(tmp_path, scenario)


def test_the_outcome_of_a_completed_job_has_its_result(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway, _: ApprovalStatement) -> None:
        assert await gateway.outcome("bell-1") is None
        result = ResultRecorded(
            job_id="bell-1",
            device="d",
            snapshot_digest="",
            result_digest="0" * 64,
            converged=True,
            observables=(Observable(name="energy_hartree", value=-1.0, standard_error=0.1),),
            iterations=1,
            shots=1,
            quantum_microusd=1,
            classical_microusd=1,
            device_time_us=1,
            classical_time_us=1,
        )
        await town.say("stage:orchestrator", result)
        await town.say("stage:orchestrator", JobCompleted(job_id="bell-1", result_digest="0" * 64))
        assert await gateway.outcome("bell-1") == Outcome("completed", "", "", result)

    while_waiting(tmp_path, scenario)
