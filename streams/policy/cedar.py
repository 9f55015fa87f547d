"""Rules in Cedar: a text goes in, rules or its faults come out; requests go in, what the rules say comes out.

A rule is one Cedar policy with `@id`; one that forbids has a `@message`, and may have a `@gate`: then it forbids until
people have granted it, and must say so by `unless { context.granted }`. A gate is `human:N`, or `human:N:DUTY+DUTY`: N
persons, who have these duties among them.

Cedar skips a rule whose evaluation errs, and so would allow what that rule forbids. Here any error denies.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import cedarpy
from cedarpy import pst

RULES_KEPT = 16
"""Parsed texts of rules: few policies are in force at a time, and a replay of history meets one after the other."""
_GATE = re.compile(r"human:([1-9][0-9]?)(?::([A-Za-z0-9._-]+(?:\+[A-Za-z0-9._-]+)*))?\Z")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|[;\n]|\S', re.DOTALL)
_OF_POLICY = re.compile(r"^for policy `[^`]*`, ")
GRANTED, WHOLE = "granted", "*"
_GRANT = pst.GetAttr(base=pst.Var(name="context"), attr=GRANTED)
_UNKNOWN = {"__extn": {"fn": "unknown", "arg": GRANTED}}
"""What stands for `context.granted` where nobody has been asked yet (Cedar's partial evaluation)."""

Request = dict[str, Any]
"""As Cedar has it: `principal`, `action` and `resource`, each by `type` and `id`, and `context` as JSON."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with rules, and in which line of their text (from 1; 0 for all of it)."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}" if self.line else self.reason


@dataclass(frozen=True, slots=True)
class Gate:
    """How many persons must grant something, and which duties they must have among them."""

    persons: int
    duties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its id, what it does, what it says where it decides, the people it asks for, the line it begins in."""

    id: str
    is_permit: bool
    message: str
    gate: Gate | None
    line: int


@dataclass(frozen=True)
class Rules:
    """Rules that were held to their schema, ready to be asked. `by_name` has them by the engine's own names.

    `attributes` are those of the context that any rule looks at.
    """

    policies: cedarpy.PolicySet
    by_name: Mapping[str, Rule]
    attributes: tuple[str, ...]

    def seen_of(self, context: Mapping[str, object]) -> Mapping[str, object]:
        """What rules look at in a context: the engine reads all that it is given, and that takes longest."""
        if WHOLE in self.attributes:
            return context
        return {name: context[name] for name in self.attributes if name in context}


@dataclass(frozen=True, slots=True)
class Said:
    """What rules say to one request: whether it is allowed, the rules that decided in their order, errors."""

    allowed: bool
    rules: tuple[Rule, ...]
    errors: tuple[str, ...]


@lru_cache(RULES_KEPT)
def read_rules(text: str, schema: str) -> Rules | tuple[Fault, ...]:
    """The rules in a text, strictly held to a schema; or all that is wrong with them."""
    try:
        parsed_schema = cedarpy.Schema.from_str(schema)
    except ValueError as error:
        return (Fault(0, f"the schema: {error}"),)
    statements = list(_statements(text))
    faults = [Fault(line, fault) for line, statement in statements if (fault := _unreadable(statement))]
    if faults:
        return tuple(faults)
    nodes = cedarpy.policies_to_pst(text)
    if len(nodes.static_policies) != len(statements):
        return (Fault(0, "every rule must be a policy of its own; templates are not taken"),)
    rules: dict[str, Rule] = {}
    for number, (line, _) in enumerate(statements):
        name = f"policy{number}"
        node = nodes.static_policies[name]
        rule = _rule(node, line)
        if isinstance(rule, Fault):
            faults.append(rule)
            continue
        faults += _faults_of(rule, node, [known.id for known in rules.values()])
        rules[name] = rule
    validation = cedarpy.validate_policies(text, parsed_schema)
    lines = {f"policy{number}": line for number, (line, _) in enumerate(statements)}
    faults += [Fault(lines.get(each.policy_id, 0), _OF_POLICY.sub("", each.error)) for each in validation.errors]
    if not any(rule.is_permit for rule in rules.values()):
        faults.append(Fault(0, "no rule permits anything: everybody would be locked out"))
    if faults:
        return tuple(sorted(set(faults), key=lambda fault: (fault.line, fault.reason)))
    looked_at = (_looked_at(node.clauses) for node in nodes.static_policies.values())
    return Rules(cedarpy.PolicySet.from_str(text), rules, tuple(sorted(set(chain.from_iterable(looked_at)))))


def ask(rules: Rules, entities: cedarpy.Entities, requests: list[Request]) -> list[Said]:
    """What rules say to requests."""
    answers = cedarpy.is_authorized_batch(requests, rules.policies, entities)
    said = []
    for answer in answers:
        told = answer.diagnostics
        deciding = tuple(rules.by_name[name] for name in sorted(told.reasons, key=_number))
        said.append(Said(answer.allowed and not told.errors, deciding, tuple(sorted(told.errors))))
    return said


def missing(rules: Rules, entities: cedarpy.Entities, request: Request, context: Mapping[str, object]) -> Said:
    """The rules that would still forbid a request until people grant it, by partial evaluation: what they leave open.

    `allowed` says that a grant is all that is missing. Names are put into texts here, as this call of the engine wants
    them; names of agents and devices hold no quotation mark (`schemas.words.Identifier`).
    """
    unknown: dict[str, object] = {
        name: f'{named["type"]}::"{named["id"]}"' for name, named in request.items() if name != "context"
    }
    unknown["context"] = {**context, GRANTED: _UNKNOWN}
    answer = cedarpy.is_authorized_partial(unknown, rules.policies, entities)
    told = answer.diagnostics
    left_open = tuple(rules.by_name[name] for name in sorted(told.nontrivial_residuals, key=_number))
    is_open = answer.decision is cedarpy.Decision.NoDecision and all(rule.gate for rule in left_open)
    return Said(bool(left_open) and is_open and not told.errors, left_open, tuple(sorted(told.errors)))


def entities_of(document: str) -> cedarpy.Entities:
    """Entities from Cedar's JSON."""
    return cedarpy.Entities.from_json_str(document)


def clauses(text: str) -> dict[str, str]:
    """Each rule of a text by its id, word for word; nothing of a text that is no rules."""
    try:
        nodes = cedarpy.policies_to_pst(text).static_policies
    except ValueError:
        return {}
    statements = [statement for _, statement in _statements(text)]
    named = (nodes[f"policy{number}"].annotations.get("id") or "" for number in range(len(nodes)))
    return dict(zip(named, statements, strict=False))


def _number(name: str) -> int:
    return int(name.removeprefix("policy"))


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each policy in a text with the line in which it begins; a tail without a semicolon counts as one."""
    line, begin, begin_line = 1, -1, 0
    for token in _TOKEN.finditer(text):
        if token[0] == "\n":
            line += 1
            continue
        if token[0].startswith("//"):
            continue
        if begin < 0:
            begin, begin_line = token.start(), line
        line += token[0].count("\n")
        if token[0] == ";":
            yield begin_line, text[begin : token.end()]
            begin = -1
    if begin >= 0:
        yield begin_line, text[begin:]


def _unreadable(statement: str) -> str:
    try:
        cedarpy.PolicySet.from_str(statement)
    except ValueError as error:
        return str(error)
    return ""


def _rule(node: pst.Template, line: int) -> Rule | Fault:
    said = {name: value or "" for name, value in node.annotations.items()}
    gate = None
    if "gate" in said:
        found = _GATE.match(said["gate"])
        if found is None:
            return Fault(line, f'@gate("{said["gate"]}") is none: write human:N, or human:N:DUTY+DUTY')
        gate = Gate(int(found[1]), tuple(sorted(set((found[2] or "").split("+")) - {""})))
    return Rule(said.get("id", ""), node.effect == "permit", said.get("message", ""), gate, line)


def _faults_of(rule: Rule, node: pst.Template, known: Sequence[str]) -> Iterator[Fault]:
    if not _ID.match(rule.id):
        yield Fault(rule.line, "a rule needs an @id of letters, digits, points and dashes")
    if rule.id in known:
        yield Fault(rule.line, f'@id("{rule.id}") is there twice')
    if not rule.is_permit and not rule.message:
        yield Fault(rule.line, "a rule that forbids needs a @message that says what to change")
    if rule.is_permit and rule.gate:
        yield Fault(rule.line, "a @gate stands on a rule that forbids until people grant it")
    if rule.gate and not any(_lifts(clause) for clause in node.clauses):
        yield Fault(rule.line, "a rule with a @gate must end with: unless { context.granted }")
    if not rule.gate and {GRANTED, WHOLE} & set(_looked_at(node.clauses)):
        yield Fault(rule.line, "only a rule with a @gate may look at context.granted")


def _lifts(clause: pst.Clause) -> bool:
    """Whether a clause ends a rule as soon as people have granted what it asks, whatever else it says."""
    return isinstance(clause, pst.Unless) and any(each == _GRANT for each in _alternatives(clause.expr))


def _alternatives(expression: pst.Expr) -> Iterator[pst.Expr]:
    if isinstance(expression, pst.BinaryOp) and expression.op == "or":
        yield from _alternatives(expression.left)
        yield from _alternatives(expression.right)
    else:
        yield expression


def _looked_at(expression: object) -> Iterator[str]:
    """The attributes of the context that an expression looks at; `WHOLE` where it hands on all of it."""
    match expression:
        case pst.GetAttr(base=pst.Var(name="context"), attr=name):
            yield name
        case pst.HasAttr(base=pst.Var(name="context"), attrs=names):
            yield names[0]
        case pst.Var(name="context"):
            yield WHOLE
        case tuple() | list():
            for each in expression:
                yield from _looked_at(each)
        case Mapping():
            yield from _looked_at(tuple(expression.values()))
        case _:
            for part in getattr(expression, "__match_args__", ()):
                yield from _looked_at(getattr(expression, part))
