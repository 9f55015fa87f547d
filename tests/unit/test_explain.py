"""What an explanation shows of a decision: the clauses that decided, and what stood in for a person."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from qpubus.policy_set import built_in
from replay.explain import Explanation, Line, explain
from schemas.admission import ROOT_SOURCE
from schemas.events import (
    AutonomyGranted,
    AutonomyProposed,
    AutonomyStatement,
    AutonomySuspended,
    HumanProof,
    IntentAdmitted,
    IntentDeclared,
)
from schemas.keys import key_id, raw_public_key
from schemas.people import signed_words
from streams.policy.cedar import clauses
from tests.support.bell import bell_manifest
from tests.support.town import AGENT, APPROVER, EPOCH_US, SITE, TRAP, Town, new_town

BELL = "test, internal data, no programs"
RULES = built_in("first-poc").rules
DIGEST = "ab" * 32


def explained(directory: Path, scenario: Callable[[Town], Awaitable[None]]) -> Explanation:
    """The explanation of the bell job in a town where this has happened."""

    async def run() -> Explanation:
        town = await new_town(directory)
        await town.run(town.device())
        await scenario(town)
        told = await explain(town.log, {SITE: raw_public_key(town.keys[ROOT_SOURCE])}, "bell-1")
        assert told is not None
        return told

    return asyncio.run(run())


def line(told: Explanation, kind: str) -> Line:
    [found] = [each for each in told.lines if each.event_type == f"qpubus.{kind}"]
    return found


def kinds(told: Explanation) -> list[str]:
    return [each.event_type.removeprefix("qpubus.") for each in told.lines]


async def proposed(town: Town) -> None:
    """The log's evidence speaks for the second step."""
    await town.say(
        "stage:policy",
        AutonomyProposed(
            agent=AGENT, action_class=BELL, level=2, price_limit_microusd=60_000_000, jobs=9, accuracy_low=0.75,
            overruns=0, refusals=1, evidence_digest=DIGEST,
        ),
    )  # fmt: skip


async def ratified(town: Town, **changes: Any) -> None:
    """A person ratifies it."""
    said: dict[str, Any] = {
        "site": SITE, "agent": AGENT, "action_class": BELL, "level": 2, "price_limit_microusd": 60_000_000,
        "evidence_digest": DIGEST, "expires_us": EPOCH_US + 10**12, "nonce": "0" * 64,
    }  # fmt: skip
    key = town.keys[APPROVER]
    unsigned = AutonomyGranted(
        statement=AutonomyStatement(**said | changes),
        person=APPROVER,
        proof=HumanProof(proof_type="ed25519", key_id=key_id(raw_public_key(key)), signature=b""),
    )
    proof = unsigned.proof.model_copy(update={"signature": key.sign(signed_words(unsigned, SITE))})
    await town.say("gateway:main", unsigned.model_copy(update={"proof": proof}))


async def admitted(town: Town, **changes: Any) -> None:
    """The job is declared, and policy lets it run."""
    policy = await town.say("root", built_in("first-poc").event())
    await town.agent.submit(town.gateway(), bell_manifest())
    declared = next(each for each in await town.heard() if isinstance(each.event, IntentDeclared))
    said: dict[str, Any] = {
        "job_id": "bell-1", "intent_digest": declared.digest, "price_ceiling_microusd": 1, "shots_ceiling": 1,
        "devices": (TRAP,), "policy_digest": policy.digest, "rule": "rules@1", "rules": ("agents-run-jobs",),
    }  # fmt: skip
    await town.say("stage:policy", IntentAdmitted(**said | changes), declared.cause)


def test_the_clauses_that_decided_are_told_word_for_word(tmp_path: Path) -> None:
    told = explained(tmp_path, lambda town: admitted(town, rules=("agents-run-jobs", "price-asks-human")))
    details = dict(line(told, "IntentAdmitted").details)
    assert details["clause agents-run-jobs"] in RULES
    assert details["clause price-asks-human"].startswith('@id("price-asks-human")')
    assert details["clause price-asks-human"].endswith("autonomyUpToMicrousd >= context.costMicrousd };")


def test_a_clause_that_is_not_in_the_policy_is_not_made_up(tmp_path: Path) -> None:
    told = explained(tmp_path, lambda town: admitted(town, rules=("of-another-policy",)))
    assert not [name for name, _ in line(told, "IntentAdmitted").details if name.startswith("clause")]


def test_every_rule_of_a_set_is_a_clause_of_its_own() -> None:
    parts = clauses(RULES)
    assert next(iter(parts)) == "agents-run-jobs"
    assert all(text.startswith(f'@id("{name}")') and text.endswith(";") for name, text in parts.items())
    assert len(parts) == RULES.count("@id(")


def test_what_is_no_rules_has_no_clauses() -> None:
    assert clauses("permit (") == clauses("") == {}


def test_the_step_of_autonomy_that_stood_in_for_a_person_is_told_with_its_proof(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        await proposed(town)
        await ratified(town)
        await admitted(town)

    told = explained(tmp_path, scenario)
    assert kinds(told).index("AutonomyProposed") < kinds(told).index("IntentAdmitted")
    granted = line(told, "AutonomyGranted")
    assert [(proof.kind, proof.by, proof.holds) for proof in granted.proofs][1:] == [("person", APPROVER, True)]
    assert dict(granted.details)["nobody is asked up to"] == "60.00 USD"
    assert f"{APPROVER} lets {AGENT} stand on step 2 of autonomy for {BELL}" in granted.sentence


def test_autonomy_that_ended_before_is_not_told(tmp_path: Path) -> None:
    async def suspended(town: Town) -> None:
        await ratified(town)
        said = AutonomySuspended(agent=AGENT, action_class=BELL, reason="denied", message="a person said no")
        await town.say("stage:policy", said)
        await admitted(town)

    async def expired(town: Town) -> None:
        await ratified(town, expires_us=EPOCH_US)
        await admitted(town)

    async def anothers(town: Town) -> None:
        await ratified(town, action_class="bench, public data, no programs")
        await admitted(town)

    for number, scenario in enumerate((suspended, expired, anothers)):
        (tmp_path / str(number)).mkdir()
        assert "AutonomyGranted" not in kinds(explained(tmp_path / str(number), scenario)), scenario.__name__


def test_where_a_person_granted_it_autonomy_is_beside_the_point(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        await ratified(town)
        await admitted(town, approver=APPROVER)

    assert "AutonomyGranted" not in kinds(explained(tmp_path, scenario))
