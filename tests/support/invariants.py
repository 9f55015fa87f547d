"""What must never happen, checked over everything that was said in a small world. Each checker names what is wrong."""

from collections import Counter
from collections.abc import Iterator

from schemas import events as e
from streams.stage import Heard
from tests.support.world import World

END = e.JobCompleted | e.JobFailed | e.JobCancelled


def check(world: World) -> None:
    """Assert every invariant of a world that has come to rest."""
    faults = [
        fault for checker in (ends, approvals, budget, steps, slots, results, forgotten) for fault in checker(world)
    ]
    assert faults == []


def ends(world: World) -> Iterator[str]:
    """Every intent ends exactly once, and nothing of a job is said by a stage before its admission or after its end."""
    refused = Counter(event.intent_digest for event in world.said(e.IntentRefused))
    admitted = {event.intent_digest: event.job_id for event in world.said(e.IntentAdmitted)}
    ended = Counter(heard.event.job_id for heard in world.log if isinstance(heard.event, END))
    for heard in world.log:
        if isinstance(heard.event, e.IntentDeclared):
            count = refused[heard.digest] + (ended[admitted[heard.digest]] if heard.digest in admitted else 0)
            if count != 1:
                yield f"{heard.event.job_id} {heard.digest[:8]} ended {count} times"
    if set(ended) != set(admitted.values()):
        yield "a job ended that was not admitted, or the other way round"


def approvals(world: World) -> Iterator[str]:
    """Where a person was asked, the job is admitted because of their grant for this very intent, used once."""
    asked = {event.job_id: event.statement for event in world.said(e.ApprovalRequested)}
    used: Counter[str] = Counter()
    for heard in world.log:
        if isinstance(heard.event, e.IntentAdmitted):
            admitted = heard.event
            named = named_by(world, heard)
            grants = [each.event.intent_digest for each in named if isinstance(each.event, e.ApprovalGranted)]
            used.update(each.digest for each in named if isinstance(each.event, e.ApprovalGranted))
            if admitted.job_id in asked and grants != [admitted.intent_digest]:
                yield f"{admitted.job_id} was admitted without a grant"
            if admitted.price_ceiling_microusd > 50_000_000 and not admitted.approver:
                yield f"{admitted.job_id} needed a person"
    yield from (f"the grant {digest[:8]} was used twice" for digest, count in used.items() if count > 1)


def named_by(world: World, heard: Heard) -> list[Heard]:
    """The events that an event names as its causes."""
    by_cause = {each.cause: each for each in world.log}
    return [by_cause[cause] for cause in world.causes[heard.digest]]


def budget(world: World) -> Iterator[str]:
    """Held and spent never pass the limit; every hold is captured or released to the last micro-dollar."""
    limit = max(event.limit_microusd for event in world.said(e.BudgetSet))
    held: Counter[str] = Counter()
    spent = 0
    for heard in world.topics["approvals"]:
        match heard.event:
            case e.BudgetHeld(job_id=job_id, amount_microusd=amount):
                held[job_id] += amount
            case e.BudgetCaptured(job_id=job_id, amount_microusd=amount):
                held[job_id] -= amount
                spent += amount
            case e.BudgetReleased(job_id=job_id, amount_microusd=amount):
                held[job_id] -= amount
            case _:
                pass
        if min(held.values(), default=0) < 0 or spent + sum(held.values()) > limit:
            yield f"the budget is below zero after {heard.event}"
    yield from (f"{amount} of {job_id} is still held" for job_id, amount in held.items() if amount)
    state = world.desks[0].state
    if (state.money.held_microusd, state.money.spent_microusd) != (0, spent):
        yield "policy's own account differs"


def steps(world: World) -> Iterator[str]:
    """Steps of a job come one after the other, quantum ones on a granted slot, within templates, ranges and shots."""
    admitted = {event.job_id: event for event in world.said(e.IntentAdmitted)}
    for job_id in {event.job_id for event in world.said(e.StepPlanned)}:
        if job_id not in admitted:
            yield f"{job_id} ran without admission"
            continue
        yield from steps_of(world, job_id, admitted[job_id].shots_ceiling)


def steps_of(world: World, job_id: str, shots_ceiling: int) -> Iterator[str]:
    """The faults of one job's steps."""
    granted: set[tuple[str, str, str]] = set()
    number, running = 0, False
    chunks: dict[tuple[int, int, int], int] = {}
    for heard in world.log:
        event = heard.event
        if getattr(event, "job_id", "") != job_id:
            continue
        match event:
            case e.ReservationGranted():
                granted.add((event.device, event.reservation_id, event.token_digest))
            case e.StepPlanned():
                if running or event.step != number:
                    yield f"{job_id} planned step {event.step} while {number} was due"
                if event.kind == "quantum" and (event.device, event.reservation_id, event.token_digest) not in granted:
                    yield f"{job_id} planned a run without a slot"
                if any(not 0 <= run.parameters.get("theta", -1) <= 3 or run.template for run in event.circuits):
                    yield f"{job_id} planned a circuit that was not declared"
                number, running = number + 1, True
            case e.StepCompleted() | e.StepFailed() | e.RunCancelled() | e.StepOutcomeUnknown():
                running = running and event.step != number - 1
            case e.ShotsMeasured():
                chunks[event.step, event.circuit, event.chunk] = event.shots
            case _:
                pass
    if sum(chunks.values()) > shots_ceiling:
        yield f"{job_id} ran {sum(chunks.values())} shots, its ceiling is {shots_ceiling}"


def slots(world: World) -> Iterator[str]:
    """Every slot that was asked for is refused, expired or given back."""
    closed = {
        heard.event.reservation_id
        for heard in world.log
        if isinstance(heard.event, e.ReservationReleased | e.ReservationRefused | e.ReservationExpired)
    }
    for requested in world.said(e.ReservationRequested):
        if requested.reservation_id not in closed:
            yield f"the slot {requested.reservation_id} of {requested.job_id} was never given back"


def results(world: World) -> Iterator[str]:
    """A job has a result if and only if it completed, and what it says it used is what was captured, up to the hold."""
    recorded = {event.job_id: event for event in world.said(e.ResultRecorded)}
    if sorted(recorded) != sorted(event.job_id for event in world.said(e.JobCompleted)):
        yield "results and completed jobs differ"
    captured = {event.job_id: event for event in world.said(e.BudgetCaptured)}
    ceilings = {event.job_id: event.price_ceiling_microusd for event in world.said(e.IntentAdmitted)}
    for job_id, result in recorded.items():
        cost = min(result.quantum_microusd + result.classical_microusd, ceilings[job_id])
        if (captured[job_id].amount_microusd, captured[job_id].shots) != (cost, result.shots):
            yield f"{job_id}: used {cost} for {result.shots} shots, captured {captured[job_id]}"


def forgotten(world: World) -> Iterator[str]:
    """Nothing of an ended job stays in a state but its id."""
    for desk in world.desks:
        tables = [desk.state.jobs, getattr(desk.state, "alarms", {}), getattr(desk.state, "deadlines", {})]
        if any(tables):
            yield f"{desk.stage.role.value} still holds {tables}"
