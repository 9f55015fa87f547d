"""A scribe writes what readers will take, and nothing else."""

from bisect import bisect

import pytest

from schemas.codec import own_schemas
from schemas.envelope import CAUSES_MAX, HEADER_BYTES_MAX, VALUE_BYTES_MAX, Cause
from schemas.events import CircuitRun, JobFailed, StepCompleted, StepPlanned
from schemas.seal import BATCH_MAX, batch_begun
from schemas.words import Event
from streams.author import Draft, EventOversized, Scribe, seal_all
from streams.proposals import PROPOSAL_BYTES_MAX, PROPOSAL_CIRCUITS_MAX, why_oversized
from tests.support.signed import NOW_US, SITE, private_key

SCHEMAS = {schema.event_type: schema for schema in own_schemas()}
FAILED = JobFailed(job_id="job-1", reason="denied", message="")


def scribe() -> Scribe:
    return Scribe("stage:orchestrator", SITE, SCHEMAS)


def drafted(event: Event = FAILED, subject: str = "job-1", causes: tuple[Cause, ...] = ()) -> Draft:
    return Draft("intents", event, subject, NOW_US, causes)


def failed_with(message_bytes: int) -> JobFailed:
    return FAILED.model_copy(update={"message": "m" * message_bytes})


OVERSIZED = {
    "value": drafted(failed_with(VALUE_BYTES_MAX)),
    "headers": drafted(subject="s" * HEADER_BYTES_MAX),
    "causes": drafted(causes=(Cause("intents", "gateway:main", 1, "9f" * 32),) * (CAUSES_MAX + 1)),
}


@pytest.mark.parametrize("draft", OVERSIZED.values(), ids=OVERSIZED)
def test_what_readers_would_refuse_for_its_size_is_not_written_and_uses_up_no_number(draft: Draft) -> None:
    author = scribe()
    with pytest.raises(EventOversized) as caught:
        author.write(draft)
    assert caught.value.draft is draft
    assert author.write(drafted()).record.sequence == "1"


def test_a_value_of_just_the_size_that_readers_take_is_written() -> None:
    spare = VALUE_BYTES_MAX - len(scribe().write(drafted(failed_with(500_000))).record.value) + 500_000
    assert len(scribe().write(drafted(failed_with(spare))).record.value) == VALUE_BYTES_MAX
    with pytest.raises(EventOversized):
        scribe().write(drafted(failed_with(spare + 1)))


def test_more_records_than_a_batch_can_have_are_sealed_as_several() -> None:
    author = scribe()
    sealed = seal_all([author.write(drafted()) for _ in range(BATCH_MAX + 2)], private_key("a"))
    assert [size for record in sealed if (size := batch_begun(record.seal))] == [BATCH_MAX, 2]


@pytest.mark.parametrize(
    "circuit",
    [
        CircuitRun(template=0, parameters={"p" * 100 + str(number): 0.5 for number in range(4)}, shots=1),
        CircuitRun(template=(1 << 62) - 1, parameters={}, shots=(1 << 62) - 1, label="é" * 40, expected="1" * 40),
        CircuitRun(template=0, shots=1),
    ],
    ids=["parameters", "texts", "plain"],
)
def test_the_largest_proposal_fits_the_events_that_are_made_of_it_twice_over(circuit: CircuitRun) -> None:
    number = bisect(range(PROPOSAL_CIRCUITS_MAX), False, key=lambda less: bool(why_oversized((circuit,) * (less + 1))))
    assert number == PROPOSAL_CIRCUITS_MAX or why_oversized((circuit,) * (number + 1))
    circuits = (circuit,) * number
    completed = StepCompleted(job_id="job-1", step=0, kind="loop", proposal=circuits)
    planned = StepPlanned(job_id="job-1", step=1, kind="quantum", iteration=1, circuits=circuits, seed=1)
    for topic, event in (("results", completed), ("intents", planned)):
        value = scribe().write(Draft(topic, event, "job-1", NOW_US)).record.value
        assert len(value) < PROPOSAL_BYTES_MAX + 1_000
