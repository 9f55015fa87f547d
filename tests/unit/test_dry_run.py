"""The dry run: the verdict, place and price that a declaration would get, without a trace."""

import asyncio
from pathlib import Path

import orjson

from agents.client import h2_documents, h2_manifest
from agents.replies import DryRun, Receipt, Refused
from schemas.events import IntentAdmitted, IntentDeclared, PlacementOffered
from schemas.manifest import signed_payload
from tests.support.bell import bell_document, bell_manifest
from tests.support.town import AGENT, SITE, TRAP, new_town


def dry_run(directory: Path, content: bytes) -> DryRun | Refused:
    async def scenario() -> DryRun | Refused:
        town = await new_town(directory)
        await town.run(*(town.device(device) for device in town.fleet))
        gateway = town.gateway()
        for document in h2_documents():
            await gateway.store_artifact(document.content, document.media_type)
        before = len(await town.heard())
        answer = await gateway.dry_run(content)
        assert len(await town.heard()) == before
        return answer

    return asyncio.run(scenario())


def judged(directory: Path, content: bytes) -> DryRun:
    answer = dry_run(directory, content)
    assert isinstance(answer, DryRun)
    return answer


def test_the_h2_job_would_need_a_person_and_run_on_the_ion_trap(tmp_path: Path) -> None:
    answer = judged(tmp_path, signed_payload(h2_manifest("h2", AGENT, SITE, 1)))
    assert answer.verdict == "ask"
    assert answer.placement.offer is not None
    assert answer.placement.offer.device == TRAP
    assert answer.price_microusd is not None
    assert answer.price_microusd <= answer.price_ceiling_microusd
    assert answer.standard_errors == {"target_standard_error_hartree": 0.0005}


def test_a_cheap_job_would_be_admitted(tmp_path: Path) -> None:
    answer = judged(tmp_path, orjson.dumps(bell_document(budget__cost_microusd=40_000_000)))
    assert (answer.verdict, answer.message) == ("admit", "")
    assert {offer.device for offer in answer.offers if offer.fits} > {TRAP}


def test_a_job_that_policy_would_refuse_is_told_why(tmp_path: Path) -> None:
    answer = judged(tmp_path, orjson.dumps(bell_document(budget__cost_microusd=1)))
    assert answer.verdict == "refuse"
    assert "budget.cost_microusd" in answer.message


def test_a_manifest_that_is_wrong_is_refused_as_it_would_be(tmp_path: Path) -> None:
    answer = dry_run(tmp_path, orjson.dumps(bell_document(quantum__shots=0)))
    assert isinstance(answer, Refused)
    assert answer.problems[0].path == "quantum.shots"


def test_the_offer_shown_is_the_one_that_the_device_makes(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await new_town(tmp_path)
        trap = town.device()
        await town.run(trap)
        gateway = town.gateway()
        shown = await gateway.dry_run(orjson.dumps(bell_document()))
        assert isinstance(shown, DryRun)
        receipt = await town.agent.submit(gateway, bell_manifest())
        assert isinstance(receipt, Receipt)
        (declared,) = [each for each in await town.heard() if isinstance(each.event, IntentDeclared)]
        admitted = IntentAdmitted(
            job_id="bell-1",
            intent_digest=receipt.intent_digest,
            price_ceiling_microusd=100_000_000,
            shots_ceiling=8_000,
            devices=(TRAP,),
            policy_digest="0" * 64,
            rule="test",
        )
        await town.say("stage:policy", admitted, declared.cause)
        await town.run(trap)
        (made,) = await town.events(PlacementOffered)
        (told,) = [offer for offer in shown.offers if offer.device == TRAP]
        assert made == told.model_copy(update={"intent_digest": receipt.intent_digest})

    asyncio.run(scenario())
