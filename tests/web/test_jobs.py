"""Jobs over HTTP: declared once whatever is lost on the way, followed, taken back, explained; all faults at once."""

import asyncio

import orjson
import pytest

from agents.client import sign_withdrawal
from qpubus.web.caller import SCOPES_OF_ROLE, Caller
from schemas.events import IntentDeclared
from schemas.topics import TOPICS
from streams.reader import Reader
from streams.stage import Heard
from tests.support.bell import bell_document
from tests.support.town import AGENT, STRANGER
from tests.support.web_house import HELD, House


async def declared(house: House) -> list[IntentDeclared]:
    """The intents on the log."""
    reader = Reader(
        house.machine.log, house.machine.partition, TOPICS, {house.desk.site: house.machine.root_public_key}
    )
    found = []
    while items := await reader.read():
        found += [each.event for each in items if isinstance(each, Heard) and isinstance(each.event, IntentDeclared)]
    return found


async def test_a_declared_job_is_on_the_log_and_can_be_read(house: House) -> None:
    answer = await house.declare()
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == "/v1/jobs/bell-1"
    shown = await house.ask("GET", "/v1/jobs/bell-1")
    assert shown.json()["state"] == "declared"
    assert (await house.ask("GET", "/v1/jobs")).json()["jobs"][0]["job_id"] == "bell-1"


async def test_a_declaration_whose_answer_was_lost_gives_the_same_answer_and_one_job(house: House) -> None:
    first = await house.declare(key="k-1")
    again = await house.declare(key="k-1")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert len(await declared(house)) == 1


async def test_the_same_key_with_another_body_is_a_conflict(house: House) -> None:
    await house.declare(key="k-1")
    other = await house.declare(key="k-1", job_id="bell-2")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len(await declared(house)) == 1


async def test_each_agent_has_idempotency_keys_of_its_own(house: House) -> None:
    await house.declare(key="k-1")
    assert (await house.declare(STRANGER, key="k-1", job_id="bell-2")).status_code == 201


async def test_the_same_job_id_with_another_body_is_a_conflict(house: House) -> None:
    await house.declare()
    other = await house.declare(quantum__shots=1_001)
    assert (other.status_code, other.json()["code"]) == (409, "job_repeated")


async def test_all_problems_come_in_one_answer_each_with_its_place(house: House) -> None:
    answer = await house.declare(
        quantum__circuit="T1BFTlFBU00gMi4wOw==", budget__shots=0, colour="red", artifacts={"a": "b"}
    )
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == 422
    paths = {each["path"] for each in answer.json()["problems"]}
    assert {"budget.shots", "colour", "artifacts.a"} <= paths


async def test_a_circuit_that_fits_no_device_is_refused_before_anything_is_signed(house: House) -> None:
    answer = await house.declare(quantum__shots=99_000_000)
    assert (answer.status_code, answer.json()["code"]) == (422, "shots_out_of_range")
    assert await declared(house) == []


async def test_the_gateway_signs_for_an_agent_whose_key_it_holds_and_says_so(house: House) -> None:
    scopes = frozenset(str(each) for each in SCOPES_OF_ROLE["agent"])
    caller = Caller(house.desk.site, HELD, "agent", scopes, assurance="gateway-held")
    await house.desk.declare(caller, orjson.dumps(bell_document(initiator=HELD)))
    assert [each.assurance for each in await declared(house)] == ["gateway-held"]


async def test_an_agent_without_a_held_key_must_sign(house: House) -> None:
    answer = await house.ask("POST", "/v1/jobs", json={"manifest": bell_document()})
    assert (answer.status_code, answer.json()["code"]) == (403, "proof_missing")


async def test_nobody_hands_in_what_another_agent_has_signed(house: House) -> None:
    answer = await house.ask("POST", "/v1/jobs", STRANGER, json=house.declaration(AGENT))
    assert (answer.status_code, answer.json()["code"]) == (403, "initiator_mismatch")


async def test_a_job_can_be_taken_back_by_its_agent(house: House) -> None:
    await house.declare()
    proof = sign_withdrawal("bell-1", "no longer", house.keys[AGENT])
    answer = await house.ask("POST", "/v1/jobs/bell-1/withdrawal", json={"agent_proof": proof})
    assert answer.status_code == 200, answer.text
    assert answer.json()["job_id"] == "bell-1"


async def test_waiting_for_a_job_ends_when_anything_about_it_changes(house: House) -> None:
    await house.declare()
    etag = (await house.ask("GET", "/v1/jobs/bell-1")).headers["etag"]
    waiting = asyncio.create_task(house.ask("GET", "/v1/jobs/bell-1?wait_s=20", headers={"if-none-match": etag}))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await house.machine.part("stage:policy").step()
    assert (await waiting).json()["state"] in {"admitted", "awaiting_approval"}


async def test_a_job_that_did_not_change_is_not_sent_again(house: House) -> None:
    await house.declare()
    etag = (await house.ask("GET", "/v1/jobs/bell-1")).headers["etag"]
    assert (await house.ask("GET", "/v1/jobs/bell-1", headers={"if-none-match": etag})).status_code == 304


async def test_pages_of_jobs_hold_each_job_once(house: House) -> None:
    for number in range(5):
        await house.declare(job_id=f"bell-{number}")
    seen, cursor = [], ""
    while cursor is not None:
        page = (await house.ask("GET", f"/v1/jobs?limit=2&cursor={cursor}")).json()
        seen += [job["job_id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert seen == [f"bell-{number}" for number in reversed(range(5))]


async def test_a_quote_tells_price_and_verdict_and_appends_nothing(house: House) -> None:
    await house.settle("views")
    answer = await house.ask("POST", "/v1/quotes", json={"manifest": bell_document()})
    assert answer.status_code == 200, answer.text
    assert answer.json()["price_microusd"] > 0
    assert await declared(house) == []


async def test_a_result_that_is_not_there_is_said_to_be_absent(house: House) -> None:
    await house.declare()
    answer = await house.ask("GET", "/v1/jobs/bell-1/result")
    assert (answer.status_code, answer.json()["code"]) == (404, "result_absent")


async def test_a_job_is_explained_with_every_signature_checked(house: House) -> None:
    await house.declare()
    shown = (await house.ask("GET", "/v1/jobs/bell-1/explanation")).json()
    assert shown["holds"]
    assert any(line["event_type"].endswith("IntentDeclared") for line in shown["lines"])


@pytest.mark.parametrize("path", ["/v1/devices", "/v1/budget", "/v1/kpis", "/v1/schemas/manifest", "/v1/openapi.json"])
async def test_what_a_site_tells_can_be_read(house: House, path: str) -> None:
    assert (await house.ask("GET", path)).status_code == 200


async def test_a_snapshot_is_told_whole(house: House) -> None:
    device = (await house.ask("GET", "/v1/devices")).json()["devices"][0]["device"]
    shown = (await house.ask("GET", f"/v1/devices/{device}/snapshot")).json()
    assert shown["document"]["device_id"] == device


async def test_the_same_declaration_many_times_at_once_is_one_job(house: House) -> None:
    answers = await asyncio.gather(*(house.declare(key="k-1") for _ in range(20)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert len(await declared(house)) == 1


async def test_of_different_bodies_under_one_key_at_once_one_is_taken(house: House) -> None:
    answers = await asyncio.gather(*(house.declare(key="k-1", job_id=f"bell-{number}") for number in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    assert len(await declared(house)) == 1


async def test_what_is_wrong_with_one_declaration_is_nobody_elses_fault(house: House) -> None:
    await house.token(AGENT)
    answers = await asyncio.gather(
        *(house.declare(job_id=f"bell-{number}", quantum__shots=number) for number in range(6))
    )
    assert [answer.status_code for answer in answers] == [422, 201, 201, 201, 201, 201]
