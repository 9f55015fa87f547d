"""Events of a job in words: a sentence each, and the figures behind it as pairs of a name and a text."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from schemas import events as e
from schemas.digests import sha256_hex
from schemas.envelope import time_text
from schemas.words import Event
from streams.policy.cedar import clauses
from streams.policy.wish import dollars

_SECOND_US = 1_000_000
_HOUR_US = 3_600 * _SECOND_US
_ANY_COST_MICROUSD = (1 << 62) - 1
"""The highest amount that there is: a policy that leaves prices to its rules has it for a limit."""

Detail = tuple[str, str]
Policies = Mapping[str, e.PolicyPublished]


def sentence(event: Event) -> str:
    """What an event says."""
    said = _SENTENCES.get(type(event))
    return said(event) if said else _plain(event)


def _plain(event: Event) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__).strip()


def _offer(offer: e.PlacementOffered) -> str:
    return f"{offer.device} offers to run it" if offer.fits else f"it does not fit {offer.device}: {offer.reason}"


def _admission(admitted: e.IntentAdmitted) -> str:
    by = f"granted by {admitted.approver}" if admitted.approver else "no person was needed"
    by = f"under the mandate {admitted.mandate_id}" if admitted.mandate_id else by
    return f"policy lets it run on {', '.join(admitted.devices)}: {by}"


def _plan(step: e.StepPlanned) -> str:
    what = f"{len(step.circuits)} circuits on {step.device}" if step.kind == "quantum" else f"program {step.kind}"
    return f"step {step.step} is planned: {what}"


def _end(step: e.StepCompleted) -> str:
    used = f"{step.shots} shots" if step.kind == "quantum" else _seconds(step.classical_time_us)
    return f"step {step.step} ends after {used}"


def _result(result: e.ResultRecorded) -> str:
    found = ", ".join(f"{each.name} {each.value:.6g} ± {each.standard_error:.2g}" for each in result.observables)
    return f"the result is recorded: {found or 'no observable'}"


def _seconds(time_us: int) -> str:
    return f"{time_us / _SECOND_US:.3f} s"


_SENTENCES: Mapping[type[Event], Callable[[Any], str]] = {
    e.IntentDeclared: lambda said: f"{said.manifest.initiator} declares {said.job_id}: {said.manifest.purpose}",
    e.TraceSealed: lambda said: f"its agent chose {said.summary.choice}: {said.summary.said or 'the reason is sealed'}",
    e.IntentWithdrawn: lambda said: f"the agent withdraws the job: {said.reason}",
    e.BudgetHeld: lambda said: f"{dollars(said.amount_microusd)} of the site's budget are held",
    e.BudgetCaptured: lambda said: f"{dollars(said.amount_microusd)} are spent",
    e.CalibrationRequested: lambda said: f"{said.initiator} wants {said.device} measured anew: {said.reason}",
    e.CalibrationFinished: lambda said: f"{said.device} answers with its calibration of {time_text(said.taken_us)}",
    e.BudgetReleased: lambda said: f"{dollars(said.amount_microusd)} are free again",
    e.ApprovalRequested: lambda said: f"a person must say yes: {said.message}",
    e.ApprovalGranted: lambda said: f"{said.approver} says yes",
    e.ApprovalDenied: lambda said: f"{said.approver} says no: {said.reason}",
    e.ApprovalPresented: lambda said: f"it is shown to {said.approver}",
    e.ApprovalCounted: lambda said: f"the yes of {said.approver} counts: {said.persons} of {said.quorum}",
    e.ApprovalInvalidated: lambda said: f"what people were asked counts no longer, {said.reason}: {said.message}",
    e.MandateGranted: lambda said: f"{said.person} grants the mandate {said.statement.mandate_id}",
    e.MandateRevoked: lambda said: f"{said.person} ends the mandate {said.mandate_id}: {said.reason}",
    e.AutonomyProposed: lambda said: (
        f"the log speaks for step {said.level} of autonomy of {said.agent}: {said.action_class}"
    ),
    e.AutonomyGranted: lambda said: (
        f"{said.person} lets {said.statement.agent} stand on step {said.statement.level} of autonomy for "
        f"{said.statement.action_class}"
    ),
    e.HaltOrdered: lambda said: f"{said.person} halts the {said.scope} {said.target}: {said.reason}",
    e.ApprovalRejected: lambda said: f"the answer of {said.approver} does not count, {said.reason}: {said.message}",
    e.ApprovalExpired: lambda _: "nobody said yes in time",
    e.IntentAdmitted: _admission,
    e.IntentRefused: lambda said: f"policy refuses it, {said.reason}: {said.message}",
    e.PlacementOffered: _offer,
    e.PlacementDecided: lambda said: f"the scheduler chooses {said.device or 'no device'}: {said.why}",
    e.ReservationRequested: lambda said: f"a slot on {said.device} is asked for",
    e.ReservationGranted: lambda said: f"{said.device} holds a slot, place {said.queue_position} in its queue",
    e.ReservationRefused: lambda said: f"{said.device} refuses the slot: {said.reason}",
    e.ReservationReleased: lambda said: f"{said.device} gets its slot back: {said.reason}",
    e.ReservationExpired: lambda said: f"the slot on {said.device} was not used in time",
    e.StepPlanned: _plan,
    e.StepStarted: lambda said: f"step {said.step} begins {f'on {said.device}' if said.device else 'in the sandbox'}",
    e.ShotsMeasured: lambda said: (
        f"{said.shots} shots of circuit {said.circuit} of step {said.step}, chunk {said.chunk}"
    ),
    e.StepCompleted: _end,
    e.StepFailed: lambda said: f"step {said.step} fails, {said.reason}: {said.message}",
    e.StepOutcomeUnknown: lambda said: f"nobody can say whether step {said.step} ran: {said.message}",
    e.RunCancelDecided: lambda said: f"the guard stops step {said.step}, {said.reason}: {said.message}",
    e.RunCancelled: lambda said: f"{said.device} stopped step {said.step} after {said.shots} shots",
    e.ArtifactStored: lambda said: f"a document is stored ({said.media_type}, {said.size_bytes} bytes)",
    e.AlarmSet: lambda said: f"an alarm is set for {time_text(said.rings_us)}",
    e.AlarmRang: lambda _: "the alarm rings",
    e.ResultRecorded: _result,
    e.JobCompleted: lambda _: "the job is done",
    e.JobFailed: lambda said: f"the job failed, {said.reason}: {said.message}",
    e.JobCancelled: lambda said: f"the job was cancelled, {said.reason}: {said.message}",
    e.EventRejected: lambda said: f"{said.topic} offset {said.offset} is rejected, {said.reason}: {said.detail}",
    e.ReproductionMeasured: lambda said: f"run again: {said.verdict}, index {said.index:.4f}",
    e.CallbackDelivered: lambda said: f"callback after {said.attempts} attempts: {said.message}",
    e.PolicyPublished: lambda said: f"policy {said.policy_id} is published",
    e.PriceListPublished: lambda _: "a price list is published",
    e.DeviceSnapshotTaken: lambda said: f"a calibration of {said.device} was taken",
}


def details(event: Event, policies: Policies) -> Iterator[Detail]:
    """The figures that a reader needs to follow a decision: rules, limits, candidates, prices, digests.

    `policies` are those that were in force, by digest: of a decision its clauses are told, word for word.
    """
    match event:
        case e.IntentDeclared(manifest=manifest):
            yield "limits", f"{dollars(manifest.budget.cost_microusd)}, {manifest.budget.shots} shots"
            yield "objective", manifest.objective
        case e.ApprovalRequested() | e.ApprovalGranted() | e.ApprovalDenied():
            yield from _of_approval(event, policies)
        case e.IntentAdmitted() | e.IntentRefused():
            yield "rule", " ".join(event.rules) or event.rule
            yield from _clauses(event.rules, policies.get(event.policy_digest))
            yield "policy digest", event.policy_digest
            if event.input_digest:
                yield "input digest", event.input_digest
        case e.PolicyPublished():
            yield from _of_policy(event)
        case e.MandateGranted() | e.AutonomyGranted() | e.AutonomyProposed():
            yield from _of_leave(event)
        case e.PlacementOffered() | e.PlacementDecided():
            yield from _of_placement(event)
        case e.RunCancelDecided():
            yield "rule", event.rule
        case e.BudgetCaptured() | e.PriceListPublished():
            yield from _of_money(event)
        case e.DeviceSnapshotTaken() | e.StepStarted() | e.ResultRecorded():
            yield from _of_run(event)
        case _:
            return


def _of_policy(policy: e.PolicyPublished) -> Iterator[Detail]:
    """The limits of a policy, which hold whatever its rules say, and what these are."""
    cost = f"{dollars(policy.cost_max_microusd)}, " if policy.cost_max_microusd < _ANY_COST_MICROUSD else ""
    yield "at most", f"{cost}{policy.shots_max} shots, {policy.iterations_max} iterations"
    if policy.rules:
        yield "rules", f"Cedar, {len(clauses(policy.rules))} clauses, SHA-256 {sha256_hex(policy.rules.encode())}"
    else:
        yield "a person is asked above", dollars(policy.approval_above_microusd)
    yield "devices", ", ".join(policy.devices)
    yield "two-qubit fidelity", f"at least {policy.min_fidelity:g}"
    yield "calibration", f"at most {policy.max_snapshot_age_us / _HOUR_US:g} hours old"


def _clauses(named: tuple[str, ...], policy: e.PolicyPublished | None) -> Iterator[Detail]:
    """The text of the rules that decided, in their order."""
    texts = clauses(policy.rules) if policy and policy.rules and named else {}
    for name in named:
        if name in texts:
            yield f"clause {name}", texts[name]


def _of_approval(event: Event, policies: Policies) -> Iterator[Detail]:
    """What a person was asked to put their name to, and how they did."""
    match event:
        case e.ApprovalRequested(statement=statement):
            yield "rule", " ".join(event.rules) or event.rule
            yield from _clauses(event.rules, policies.get(statement.policy_digest))
            yield "asked are", _people(statement)
            yield "purpose", statement.purpose
            yield "price ceiling", dollars(statement.price_ceiling_microusd)
            yield "shots at most", str(statement.shots)
            if event.devices:
                yield "may run on", ", ".join(event.devices)
            yield "intent digest", statement.intent_digest
            yield "circuits", " ".join(statement.template_digests)
            yield "programs", " ".join(statement.program_digests) or "none"
            yield "policy digest", statement.policy_digest
            yield "expires", time_text(statement.expires_us)
            yield "nonce", statement.nonce
        case e.ApprovalGranted(proof=proof) | e.ApprovalDenied(proof=proof):
            yield "intent digest", event.intent_digest
            yield "proof", f"{proof.proof_type}, key {proof.key_id}"
            yield "signature", proof.signature.hex()
        case _:
            return


def _of_leave(event: Event) -> Iterator[Detail]:
    """What a person let an agent do without being asked each time, and on what evidence."""
    match event:
        case e.MandateGranted(statement=said):
            yield "agent", f"{said.agent}, key {said.agent_key_id}"
            yield "purposes", ", ".join(f"{each}…" for each in said.purposes)
            yield "devices", ", ".join(said.devices)
            yield "data", ", ".join(said.data_classes)
            yield "at most", f"{dollars(said.cost_per_job_microusd)} a job, {dollars(said.cost_total_microusd)} in all"
            yield "until", time_text(said.expires_us)
        case e.AutonomyGranted(statement=ratified):
            yield "nobody is asked up to", dollars(ratified.price_limit_microusd)
            yield "evidence", ratified.evidence_digest
            yield "until", time_text(ratified.expires_us)
        case e.AutonomyProposed():
            yield "jobs", f"{event.jobs}, {event.overruns} overruns, {event.refusals} refusals"
            yield "ended well", f"{event.accuracy_low:.4f} of the money at least"
            yield "evidence", event.evidence_digest
        case _:
            return


def _of_placement(event: Event) -> Iterator[Detail]:
    """What devices offered, and what the scheduler made of each."""
    match event:
        case e.PlacementOffered():
            yield "snapshot", event.snapshot_digest
            yield (
                "prediction",
                (
                    f"success {event.predicted_success:.4f}, {dollars(event.price_microusd)}, "
                    f"waits {event.queue_wait_us / _SECOND_US:.0f} s, runs {event.run_duration_us / _SECOND_US:.0f} s"
                ),
            )
        case e.PlacementDecided():
            yield "rule", event.rule
            for each in event.candidates:
                yield (
                    each.device,
                    (
                        f"{each.verdict}: score {each.score:.4f}, success {each.predicted_success:.4f}, "
                        f"{dollars(each.price_microusd)}, waits {each.queue_wait_us / _SECOND_US:.0f} s"
                    ),
                )
        case _:
            return


def _of_money(event: Event) -> Iterator[Detail]:
    """What things cost, and what was spent."""
    match event:
        case e.BudgetCaptured():
            yield "quantum", dollars(event.quantum_microusd)
            yield "classical", dollars(event.classical_microusd)
        case e.PriceListPublished():
            for each in event.devices:
                terms = (
                    (each.task_microusd, "task"),
                    (each.shot_microusd, "shot"),
                    (each.hour_microusd, "hour used"),
                    (each.second_microusd, "second used"),
                    (each.slot_hour_microusd, "hour of the slot"),
                )
                told = [f"{dollars(price)} per {what}" for price, what in terms if price]
                yield each.device, ", ".join(told) or "free"
            yield "classical", f"{dollars(event.classical_second_microusd)} per second"
        case _:
            return


def _of_run(event: Event) -> Iterator[Detail]:
    """By which calibration it ran, and what came out."""
    match event:
        case e.DeviceSnapshotTaken():
            yield "measured", time_text(event.taken_us)
            yield "two-qubit fidelity", f"{event.two_qubit_fidelity:.5f} ± {event.two_qubit_fidelity_error:.5f}"
            yield "readout fidelity", f"{event.readout_fidelity:.5f}"
            yield "device", f"{event.qubits} qubits, {event.topology}, {event.firmware}, {event.compiler}"
            yield "snapshot", event.snapshot_digest
        case e.StepStarted() if event.snapshot_digest:
            yield "snapshot", event.snapshot_digest
            yield "compiled", ", ".join(event.compiled_digests)
        case e.ResultRecorded():
            yield "device", event.device
            yield "snapshot", event.snapshot_digest
            yield "result digest", event.result_digest
            yield "quantum", f"{dollars(event.quantum_microusd)}, {event.shots} shots"
            yield "classical", f"{dollars(event.classical_microusd)}, {_seconds(event.classical_time_us)}"
        case _:
            return


def _people(statement: e.ApprovalStatement) -> str:
    persons = "one person" if statement.quorum == 1 else f"{statement.quorum} persons"
    return f"{persons}, for {' and '.join(statement.roles)}" if statement.roles else persons
