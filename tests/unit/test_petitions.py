"""What people say of their own accord at the gateway: a proof that holds is carried on, others never get to the log."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agents.approver import PlainSigner, grant
from agents.gateway import Gateway
from agents.replies import Receipt, Refused, Said
from qpubus.signing import signer_of, ssh_key_in
from schemas.admission import ROOT_SOURCE
from schemas.events import (
    ApprovalGranted,
    ApprovalPresented,
    HaltLifted,
    HaltOrdered,
    IntentAdmitted,
    IntentRefused,
    KeyEnrolled,
    KeyRevoked,
    MandateGranted,
    MandateRevoked,
    MandateStatement,
)
from schemas.keys import key_id, raw_public_key
from schemas.petitions import Petition
from streams.policy import POLICY
from streams.worker import Site, Worker
from tests.support.bell import bell_manifest
from tests.support.jobs import halted, id_of, key_of, lifted, proof, signed
from tests.support.town import AGENT, APPROVER, EPOCH_US, SITE, TRAP, Town, new_town

ADA, BEN = "operator:ada", "approver:ben"
DAY_US = 86_400_000_000


def at_the_gateway(directory: Path, scenario: Callable[[Town, Gateway], Awaitable[None]]) -> None:
    async def run() -> None:
        town = await new_town(directory)
        await town.run(town.device())
        for name in (ADA, BEN):
            public = raw_public_key(key_of(name))
            role = name.partition(":")[0]
            await town.say(
                "root", KeyEnrolled(key_id=id_of(name), public_key=public, source=name, role=role, assurance="demo")
            )
        await scenario(town, town.gateway())

    asyncio.run(run())


async def settle(town: Town, gateway: Gateway) -> None:
    policy = Worker(
        POLICY, town.log, 0, {SITE: Site(raw_public_key(town.keys[ROOT_SOURCE]), town.keys["stage:policy"])}
    )
    while any([await policy.step(), await gateway.step()]):
        pass


def code_of(answer: Said | Refused | Receipt) -> str:
    assert isinstance(answer, Refused), answer
    return answer.code


def mandate(town: Town, **changes: Any) -> MandateGranted:
    fields: dict[str, Any] = {
        "site": SITE,
        "mandate_id": "m1",
        "agent": AGENT,
        "agent_key_id": key_id(raw_public_key(town.keys[AGENT])),
        "purposes": ("bell",),
        "devices": (TRAP,),
        "data_classes": ("internal",),
        "cost_per_job_microusd": 100_000_000,
        "cost_total_microusd": 100_000_000,
        "jobs_per_period": 9,
        "period_us": 0,
        "starts_us": EPOCH_US,
        "expires_us": EPOCH_US + DAY_US,
        "nonce": "0" * 64,
    }
    statement = MandateStatement(**fields | changes)
    return signed(MandateGranted(statement=statement, person=BEN, proof=proof(BEN, b"")), BEN)


def test_a_halt_is_appended_with_its_persons_proof_and_bites(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        order = halted("h1", "agent", AGENT, ADA)
        assert isinstance(await gateway.petition(order), Said)
        assert await town.events(HaltOrdered) == [order]
        await town.agent.submit(gateway, bell_manifest())
        await settle(town, gateway)
        assert [each.reason for each in await town.events(IntentRefused)] == ["halted"]

    at_the_gateway(tmp_path, scenario)


def test_the_same_handed_in_again_gets_the_same_answer_and_is_said_once(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        for petition in (halted("h1", "agent", AGENT, ADA), mandate(town)):
            first = await gateway.petition(petition)
            assert isinstance(first, Said)
            assert await gateway.petition(petition) == first
            assert await town.gateway().petition(petition) == first, "after a restart too"
        assert (len(await town.events(HaltOrdered)), len(await town.events(MandateGranted))) == (1, 1)

    at_the_gateway(tmp_path, scenario)


def test_only_another_person_lifts_a_halt(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        await gateway.petition(halted("h1", "site", SITE, ADA))
        await gateway.listen()
        assert gateway.halted(AGENT)
        assert code_of(await gateway.petition(lifted("h1", ADA))) == "halt_own"
        assert isinstance(await gateway.petition(lifted("h1", BEN)), Said)
        [end] = await town.events(HaltLifted)
        assert (end.halt_id, end.person) == ("h1", BEN)
        await gateway.listen()
        assert gateway.halted(AGENT) is None

    at_the_gateway(tmp_path, scenario)


FALSE: dict[str, tuple[Callable[[Town], Petition], str]] = {
    "an agent orders a halt": (lambda _: halted("h1", "site", SITE, AGENT), "person_unknown"),
    "its words were changed": (
        lambda _: halted("h1", "agent", "agent:other", ADA).model_copy(update={"target": AGENT}),
        "proof_invalid",
    ),
    "of another site": (lambda _: signed(halted("h1", "agent", AGENT, ADA), ADA, "site-b"), "proof_invalid"),
    "no halt to lift": (lambda _: lifted("h1", BEN), "halt_unknown"),
    "an operator grants a mandate": (
        lambda town: signed(mandate(town).model_copy(update={"person": ADA}), ADA),
        "person_unknown",
    ),
    "a mandate for another site": (lambda town: mandate(town, site="site-b"), "site_foreign"),
    "a mandate for an unknown key": (lambda town: mandate(town, agent_key_id="f" * 32), "agent_unknown"),
    "a mandate that is over": (lambda town: mandate(town, expires_us=EPOCH_US), "mandate_over"),
    "no mandate to revoke": (
        lambda _: signed(MandateRevoked(mandate_id="m1", person=BEN, reason="over", proof=proof(BEN, b"")), BEN),
        "mandate_unknown",
    ),
    "without a reason": (
        lambda _: signed(HaltLifted(halt_id="h1", person=BEN, reason=" ", proof=proof(BEN, b"")), BEN),
        "reason_missing",
    ),
}


@pytest.mark.parametrize("name", FALSE)
def test_what_would_not_count_is_refused_with_its_code_and_never_said(tmp_path: Path, name: str) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        make, code = FALSE[name]
        before = len(await town.heard())
        assert code_of(await gateway.petition(make(town))) == code
        assert len(await town.heard()) == before

    at_the_gateway(tmp_path, scenario)


def test_a_revoked_person_halts_nothing(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        await town.say("root", KeyRevoked(key_id=id_of(ADA), reason="left"))
        assert code_of(await gateway.petition(halted("h1", "site", SITE, ADA))) == "person_unknown"

    at_the_gateway(tmp_path, scenario)


def test_a_grant_by_an_ssh_key_lets_the_job_run(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        file = tmp_path / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", file], check=True)  # noqa: ASYNC221 (a moment)
        key = ssh_key_in(file.with_suffix(".pub"))
        await town.say(
            "root",
            KeyEnrolled(
                key_id=key_id(key.public_key),
                public_key=key.public_key,
                source="approver:ssh",
                role="approver",
                assurance="demo",
                proof_type="sshsig",
                algorithm="ES256",
            ),
        )
        await town.agent.submit(gateway, bell_manifest(budget__cost_microusd=90_000_000))
        await settle(town, gateway)
        [pending] = await gateway.approvals()
        assert isinstance(await gateway.grant(grant(pending.statement, signer_of(file))), Said)
        await settle(town, gateway)
        assert [each.approver for each in await town.events(IntentAdmitted)] == ["approver:ssh"]

    at_the_gateway(tmp_path, scenario)


def test_that_a_request_was_shown_is_said_once_for_each_person(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        await town.agent.submit(gateway, bell_manifest(budget__cost_microusd=90_000_000))
        await settle(town, gateway)
        name = key_id(raw_public_key(town.keys[APPROVER]))
        assert isinstance(await gateway.present("bell-1", name), Said)
        assert await gateway.present("bell-1", name) == await gateway.present("bell-1", name)
        await gateway.present("bell-1", id_of(BEN))
        assert [each.approver for each in await town.events(ApprovalPresented)] == [APPROVER, BEN]

    at_the_gateway(tmp_path, scenario)


def test_a_request_is_shown_to_nobody_who_may_not_answer(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        await town.agent.submit(gateway, bell_manifest(budget__cost_microusd=90_000_000))
        await settle(town, gateway)
        assert code_of(await gateway.present("bell-1", id_of(ADA))) == "role_forbidden"

    at_the_gateway(tmp_path, scenario)


def test_a_second_persons_yes_is_taken_only_where_two_are_asked(tmp_path: Path) -> None:
    async def scenario(town: Town, gateway: Gateway) -> None:
        await town.agent.submit(gateway, bell_manifest(budget__cost_microusd=90_000_000))
        await settle(town, gateway)
        [pending] = await gateway.approvals()
        await gateway.grant(town.approver.grant(pending.statement))
        second = await gateway.grant(grant(pending.statement, PlainSigner(key_of(BEN))))
        assert code_of(second) == "approval_answered"
        assert len(await town.events(ApprovalGranted)) == 1

    at_the_gateway(tmp_path, scenario)
