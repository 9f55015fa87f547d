"""The one verdict on a wish: the stage, the dry run and what-if ask this very function."""

from dataclasses import dataclass
from typing import Any

from cedarpy import Entities

from schemas.reasons import Reason
from streams.policy.budgets import device_part, parts_of
from streams.policy.cedar import GRANTED, Gate, Rule, Rules, Said, ask, missing, read_rules
from streams.policy.limits import RULE_LIMITS, Limits, admit_or_ask, within_limits
from streams.policy.rates import why_too_fast
from streams.policy.request import asked_before, contexts, entities, input_digest, request_of
from streams.policy.state import PolicyState
from streams.policy.wish import Admit, Ask, Grounds, Refuse, Verdict, Wish


def judge(
    state: PolicyState, wish: Wish, time_us: int, held_microusd: int = 0, *, granted: Gate | None = None
) -> Verdict:
    """What policy says to a wish at a time.

    What is already held for this very job counts as free, and what is held was counted among the agent's rates.
    `granted` are the people who granted it under the policy in force: gates that ask for no more are open.
    """
    policy = state.policy
    if policy is None:
        message = "no policy is published for this site: an admin must publish one"
        return Refuse(Reason.POLICY_MISSING, message, RULE_LIMITS)
    wish = state.classified(wish)
    limits = Limits(policy, state.prices, state.money.free_microusd(held_microusd))
    if halt := state.halts.covering(wish.initiator):
        return Refuse(Reason.HALTED, halt.message, RULE_LIMITS)
    within = within_limits(limits, wish, time_us)
    if isinstance(within, Refuse):
        return within
    halted = {device: halt for device in within if (halt := state.halts.covering(wish.initiator, device))}
    running = tuple(device for device in within if device not in halted)
    if not running:
        return Refuse(Reason.HALTED, "; ".join(halt.message for halt in halted.values()), RULE_LIMITS)
    devices = _affordable(state, wish, time_us, running, held_microusd)
    if isinstance(devices, Refuse):
        return devices
    is_counted = held_microusd > 0
    recent = asked_before(state, wish, time_us, is_counted=is_counted)
    too_fast = why_too_fast(policy.rates, recent, wish)
    if too_fast is not None:
        return too_fast
    if not policy.rules:
        return admit_or_ask(policy, wish, devices, granted is not None)
    rules = read_rules(policy.rules, policy.rules_schema)
    if not isinstance(rules, Rules):
        message = f"the rules of policy {policy.policy_id} do not hold: {'; '.join(map(str, rules))}"
        return Refuse(Reason.POLICY_INVALID, message, RULE_LIMITS)
    asked = contexts(state, wish, devices, time_us, recent)
    return Question(rules, entities(policy), wish.initiator, asked, state.policy_digest).verdict(granted)


def _affordable(
    state: PolicyState, wish: Wish, time_us: int, devices: tuple[str, ...], held_microusd: int
) -> tuple[str, ...] | Refuse:
    """The devices for which all budgets that a wish falls under have money left; or why there is none."""
    exhausted = state.budgets.why_exhausted(parts_of(wish), wish, time_us, held_microusd)
    if exhausted is not None:
        return exhausted
    poor = {
        device: refusal
        for device in devices
        if (refusal := state.budgets.why_exhausted((device_part(device),), wish, time_us, 0))
    }
    return tuple(device for device in devices if device not in poor) or poor[devices[0]]


@dataclass
class Question:
    """A wish as it is put to rules, device by device."""

    rules: Rules
    entities: Entities
    agent: str
    asked: dict[str, dict[str, Any]]
    policy_digest: str

    def verdict(self, granted: Gate | None) -> Verdict:
        """Admit it where it may run without further people; else ask for the fewest that open a device; else refuse."""
        said = self._ask(tuple(self.asked))
        gated = {device: self._missing(device, each) for device, each in said.items() if _may_be_open(each)}
        gates = {device: _together(each.rules) for device, each in gated.items() if each.allowed}
        opened = tuple(device for device, gate in gates.items() if granted and _covers(granted, gate))
        for device in opened:
            self.asked[device][GRANTED] = True
        said |= self._ask(opened)
        digest = input_digest(self.agent, self.asked, self.policy_digest)
        allowed = tuple(device for device, each in said.items() if each.allowed)
        if allowed:
            grounds = _grounds([rule for device in allowed for rule in said[device].rules], digest)
            return Admit(allowed, grounds.rules[0], grounds)
        closed = {device: gate for device, gate in gates.items() if device not in opened}
        if closed:
            return _ask_people(closed, gated, digest)
        return _refused(said, digest)

    def _ask(self, devices: tuple[str, ...]) -> dict[str, Said]:
        seen = self.rules.seen_of
        requests = [request_of(self.agent, device, seen(self.asked[device])) for device in devices]
        return dict(zip(devices, ask(self.rules, self.entities, requests), strict=True)) if requests else {}

    def _missing(self, device: str, said: Said) -> Said:
        """What a grant would have to open for a device that nothing but gates forbid; `allowed` if it would open all.

        Partial evaluation leaves a rule open that a mandate has lifted already, so those that forbid now count.
        """
        left_open = missing(
            self.rules, self.entities, request_of(self.agent, device, self.asked[device]), self.asked[device]
        )
        return Said(left_open.allowed and set(said.rules) <= set(left_open.rules), said.rules, left_open.errors)


def _may_be_open(said: Said) -> bool:
    """Whether nothing but gates forbids; the partial evaluation then tells which."""
    return bool(said.rules) and not said.errors and all(rule.gate for rule in said.rules)


def _ask_people(gates: dict[str, Gate], gated: dict[str, Said], digest: str) -> Ask:
    """Ask for the least that opens a device; other devices that it opens too come with it."""
    least = min(gates.values(), key=lambda gate: (gate.persons, len(gate.duties), gate.duties))
    devices = tuple(device for device, gate in gates.items() if _covers(least, gate))
    grounds = _grounds([rule for device in devices for rule in gated[device].rules], digest)
    message = f"{'; '.join(grounds.messages)}: {_people(least)} must grant it"
    return Ask(devices, grounds.rules[0], message, grounds, least.persons, least.duties)


def _covers(granted: Gate, gate: Gate) -> bool:
    """Whether the people who are behind a grant are all that a gate asks for."""
    return gate.persons <= granted.persons and set(gate.duties) <= set(granted.duties)


def _together(rules: tuple[Rule, ...]) -> Gate:
    """What several gates ask for at once."""
    gates = [rule.gate for rule in rules if rule.gate]
    duties = {duty for gate in gates for duty in gate.duties}
    return Gate(max(gate.persons for gate in gates), tuple(sorted(duties)))


def _people(gate: Gate) -> str:
    persons = "a person" if gate.persons == 1 else f"{gate.persons} persons"
    return f"{persons} who answer for {' and '.join(gate.duties)}" if gate.duties else persons


def _refused(said: dict[str, Said], digest: str) -> Refuse:
    """Say what forbids it on every device, each rule once."""
    errors = sorted({error for each in said.values() for error in each.errors})
    forbidding = [rule for each in said.values() for rule in each.rules if not rule.is_permit and not rule.gate]
    grounds = _grounds(forbidding, digest)
    if errors:
        message = f"a rule could not be evaluated, which denies: {'; '.join(errors)}"
        return Refuse(Reason.RULE_ERROR, message, grounds.rules[0] if grounds.rules else RULE_LIMITS, grounds)
    if not grounds.rules:
        message = f"no rule permits it on {', '.join(said)}"
        return Refuse(Reason.RULE_FORBIDS, message, RULE_LIMITS, grounds)
    return Refuse(Reason.RULE_FORBIDS, "; ".join(grounds.messages), grounds.rules[0], grounds)


def _grounds(rules: list[Rule], digest: str) -> Grounds:
    """The rules that decided, each once, in the order of their text."""
    by_place = {(rule.line, rule.id): rule for rule in rules}
    deciding = [by_place[place] for place in sorted(by_place)]
    return Grounds(
        tuple(rule.id for rule in deciding), tuple(rule.message for rule in deciding if rule.message), digest
    )
