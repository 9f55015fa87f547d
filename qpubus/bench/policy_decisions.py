"""How fast policy decides and replays history, against one bare evaluation by Cedar of the same rules.

`policy.decide`: the whole decision of the stage on an intent that may run on one device: who declared it, whether the
gateway left the manifest as it was, limits, prices, budget, rates, the rules, and the events that are said. Records are
verified already, and so is the agent's own proof, as in a bus, where the gateway checked it just before;
`policy.decide_with_proof` checks it in each decision. `policy.what_if`: history folded and each intent judged again.

The reference is one full evaluation by `cedarpy.is_authorized` of the request of these very decisions, with rules and
entities parsed beforehand, in the fastest form in which it takes a whole request: names by type and id, the context as
JSON. Two further forms are told beside it: as the documentation shows it (names as text, context as a dict), which is
slower, and with no more of the context than these rules look at, which is faster and what the stage itself does. All
run in turn; each rate is the median of its rounds.
"""

import base64
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cedarpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.devices.profiles import PROFILES, device_price
from qpubus.policy_set import built_in
from replay.audit import collector_off
from replay.whatif import Replay
from schemas import proofs
from schemas.digests import digest_of_parts
from schemas.envelope import Cause
from schemas.events import (
    BudgetSet,
    DeviceSnapshotTaken,
    IntentDeclared,
    JobCancelled,
    KeyEnrolled,
    PriceListPublished,
    SiteFounded,
)
from schemas.keys import key_id, raw_public_key
from schemas.manifest import JobBudget, Manifest, Quantum, signed_payload
from schemas.topics import Role
from schemas.words import Event
from streams.journal import Step
from streams.policy.cedar import Rules, read_rules
from streams.policy.request import asked_before, contexts, entities, request_of
from streams.policy.stage import POLICY
from streams.policy.state import PolicyState, wish_in
from streams.stage import Heard

AGENT, SITE, DEVICE = "agent:bench", "site-a", "onprem-iontrap-1"
EPOCH_US = 1_790_000_000_000_000
ROUNDS, DECISIONS, JOBS = 200, 16, 16
INTENTS = 16
"""Different intents: fewer than proofs that a process remembers."""
_QASM = "OPENQASM 3.0;\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n"


def measure() -> list[dict[str, Any]]:
    """The figures `policy.decide`, with its p99 and with the proof checked too, and `policy.what_if`."""
    said = _Said()
    policy = built_in("first-poc").event(tuple(PROFILES))
    state = said.govern(policy)
    intents = [said.intent(number) for number in range(INTENTS)]
    bare = _bare(state, intents[0])
    forms = {f"policy.bare_{form}": partial(_repeat, call, DECISIONS) for form, call in bare.items()}
    steps = said.history(state)
    times_us: list[float] = []
    runs: dict[str, Callable[[], None]] = {
        **forms,
        "policy.decide": lambda: _decide(state, intents, times_us),
        "policy.decide_with_proof": lambda: _decide_with_proof(state, intents),
        "policy.what_if": lambda: _what_if(state, steps),
    }
    counts = {
        **dict.fromkeys(forms, DECISIONS),
        "policy.decide": DECISIONS,
        "policy.decide_with_proof": INTENTS,
        "policy.what_if": JOBS,
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            rates[name].append(counts[name] / (time.perf_counter() - began))
    reference = statistics.median(rates["policy.bare_whole"])
    figures = [_figure(name, statistics.median(each), reference) for name, each in rates.items()]
    p99 = statistics.quantiles(times_us, n=100)[98]
    return [*figures, {"name": "policy.decide_p99", "value": round(p99), "unit": "µs a decision", "reference": "",
                       "reference_value": None, "ratio": None}]  # fmt: skip


def _figure(name: str, value: float, reference: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value),
        "unit": "decisions/s",
        "reference": "one bare evaluation by Cedar, in its fastest form",
        "reference_value": round(reference),
        "ratio": round(value / reference, 2),
    }


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def _bare(state: PolicyState, intent: Heard) -> dict[str, Callable[[], object]]:
    """One evaluation of the request that the intent leads to, in each form."""
    declared, policy = intent.event, state.policy
    rules = read_rules(policy.rules, policy.rules_schema) if policy else ()
    if not isinstance(declared, IntentDeclared) or policy is None or not isinstance(rules, Rules):
        raise TypeError("the rules that are measured do not hold")
    wish = wish_in(state, declared)
    recent = asked_before(state, wish, intent.time_us, is_counted=False)
    asked = contexts(state, wish, (DEVICE,), intent.time_us, recent)
    names = {"principal": f'Agent::"{AGENT}"', "action": 'Action::"run"', "resource": f'Device::"{DEVICE}"'}
    facts = entities(policy)
    forms: dict[str, dict[str, Any]] = {
        "documented": {**names, "context": asked[DEVICE]},
        "whole": request_of(AGENT, DEVICE, asked[DEVICE]),
        "looked_at": request_of(AGENT, DEVICE, rules.seen_of(asked[DEVICE])),
    }
    if not all(cedarpy.is_authorized(request, rules.policies, facts).allowed for request in forms.values()):
        raise ValueError("the request that is measured is not allowed")
    return {form: partial(cedarpy.is_authorized, each, rules.policies, facts) for form, each in forms.items()}


def _decide(state: PolicyState, intents: list[Heard], times_us: list[float]) -> None:
    for number in range(DECISIONS):
        began = time.perf_counter_ns()
        outputs = POLICY.decide(state, intents[number % INTENTS])
        times_us.append((time.perf_counter_ns() - began) / 1_000)
        if len(outputs) != 2:
            raise ValueError("the intent that is measured was not admitted")


def _decide_with_proof(state: PolicyState, intents: list[Heard]) -> None:
    proofs.forget_proofs()
    for intent in intents:
        POLICY.decide(state, intent)


def _what_if(state: PolicyState, steps: list[Step]) -> None:
    if state.policy is None:
        raise TypeError("no policy is in force")
    replay = Replay(state.policy, state)
    with collector_off():  # as what-if does
        for step in steps:
            replay.take(step)
    if replay.found.decisions != JOBS or replay.found.changes:
        raise ValueError("the same policy decides otherwise")


class _Said:
    """Makes events as a reader hands them over, each verified."""

    def __init__(self) -> None:
        self._count = 0
        self._key = Ed25519PrivateKey.generate()
        self._key_id = key_id(raw_public_key(self._key))

    def heard(self, topic: str, role: Role, source: str, event: Event) -> Heard:
        """One event."""
        self._count += 1
        digest = digest_of_parts(topic, source, self._count)
        return Heard(event, SITE, source, role.value, "", digest, EPOCH_US, Cause(topic, source, self._count, digest))

    def govern(self, policy: Event) -> PolicyState:
        """The state of policy at a founded site whose devices are calibrated."""
        events: list[Event] = [
            SiteFounded(clock="wall", epoch_us=EPOCH_US, seed=1),
            KeyEnrolled(key_id=self._key_id, public_key=raw_public_key(self._key), source=AGENT, role="agent"),
            policy,
            PriceListPublished(devices=tuple(map(device_price, PROFILES.values())), classical_second_microusd=20),
            BudgetSet(limit_microusd=10**15),
        ]
        state = POLICY.initial
        for event in events:
            state = POLICY.evolve(state, self.heard("governance", Role.ROOT, "root", event))
        for device in PROFILES:
            taken = DeviceSnapshotTaken(
                device=device, snapshot_digest="ab" * 32, taken_us=EPOCH_US, topology="ion-trap", qubits=12,
                two_qubit_fidelity=0.99, two_qubit_fidelity_error=0.001, readout_fidelity=0.99, shots_max=20_000,
                firmware="1", compiler="1",
            )  # fmt: skip
            state = POLICY.evolve(state, self.heard("snapshots", Role.DEVICE, f"device:{device}", taken))
        return state

    def intent(self, number: int) -> Heard:
        """A small job, signed by its agent."""
        manifest = Manifest(
            job_id=f"job-{number:06}", initiator=AGENT, purpose="two qubits, entangled", site=SITE,
            quantum=Quantum(circuit=base64.b64encode(_QASM.encode()).decode(), shots=100),
            budget=JobBudget(cost_microusd=5_000_000, shots=1_000), allowed_devices=(DEVICE,),
        )  # fmt: skip
        proof = proofs.sign_jws(signed_payload(manifest), self._key, self._key_id, proofs.TYPE_INTENT)
        completed = manifest.model_copy(update={"seed": number})
        declared = IntentDeclared(
            job_id=manifest.job_id, agent_key_id=self._key_id, agent_proof=proof, manifest=completed
        )
        return self.heard("intents", Role.GATEWAY, "gateway:main", declared)

    def history(self, state: PolicyState) -> list[Step]:
        """What policy read and said of jobs that were declared, admitted and cancelled."""
        steps = []
        for number in range(JOBS):
            intent = self.intent(number)
            ended = JobCancelled(job_id=f"job-{number:06}", reason="withdrawn", message="")
            for item in (intent, self.heard("intents", Role.ORCHESTRATOR, "stage:orchestrator", ended)):
                outputs = [
                    self.heard(output.topic, Role.POLICY, POLICY.source, output.event)
                    for output in POLICY.decide(state, item)
                ]
                for each in (item, *outputs):
                    state = POLICY.evolve(state, each)
                steps.append(Step(item, outputs))
        return steps
