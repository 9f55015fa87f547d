"""Policy files: NAME.cedar, NAME.toml and NAME.examples.toml go in; a policy ready to publish comes out, or its faults.

The rules are Cedar text, the settings say what stands beside them, the examples what the whole is meant to say.
"""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

import schemas
from qpubus.problem import Problem, validation_text
from schemas.events import AutonomyLadder, AutonomyStep, DeviceFacts, PolicyPublished, RateLimits
from schemas.manifest import SHOTS_MAX
from schemas.words import Count, Identifier, MicroUsd, Words
from streams.policy.cedar import Fault, Rules, read_rules
from streams.policy.judging import Question
from streams.policy.request import entities
from streams.policy.wish import Admit, Ask, Refuse, Verdict

BUILT_IN = Path(__file__).parent / "policies"
BUILT_IN_NAMES = tuple(sorted(path.stem for path in BUILT_IN.glob("*.cedar")))
SCHEMA = Path(schemas.__file__).parent / "policy.cedarschema"
AGENT = "agent:example"
SECOND_US = 1_000_000
_COST_MAX = (1 << 62) - 1
_DIGEST = "0" * 64

SMALL_JOB: dict[str, Any] = {
    "purpose": "example",
    "project": "",
    "objective": "balanced",
    "dataClass": "public",
    "costMicrousd": 5_000_000,
    "shots": 1_000,
    "runShots": 1_000,
    "iterations": 1,
    "programs": 0,
    "isolation": ["bounded space", "no network", "no other files", "no other processes", "no signals to others"],
    "assurance": "file",
    "intentsLastHour": 0,
    "shotsLastHour": 0,
    "costLastHourMicrousd": 0,
    "autonomyLevel": 0,
    "autonomyUpToMicrousd": 0,
    "mandated": False,
    "calibrationAgeS": 600,
    "fidelityPpm": 995_000,
    "topology": "ion-trap",
    "rehearsed": True,
    "hour": 10,
    "weekday": 1,
    "granted": False,
}
"""What an example's context is, but for what it names: a small job on public data, a Monday at ten."""
_PROBES: dict[str, tuple[Any, ...]] = {
    "dataClass": ("public", "internal", "confidential", "restricted"),
    "costMicrousd": (1, 5_000_000, 1_000_000_000),
    "programs": (0, 1),
    "assurance": ("hardware", "gateway-held"),
    "weekday": (1, 6),
    "hour": (2, 10, 14, 20),
}


class DeviceSetting(Words):
    """What a policy file says of a device."""

    cloud: bool
    region: str = ""
    emulates: str = ""


class LadderSetting(Words):
    """How agents earn autonomy: `[autonomy]`, with a `[[autonomy.steps]]` a step, the lowest first."""

    steps: tuple[AutonomyStep, ...] = Field(min_length=1)
    day_cap_microusd: MicroUsd = Field(gt=0)
    valid_s: Count = Field(gt=0)
    floor_microusd: MicroUsd = Field(gt=0)

    @model_validator(mode="after")
    def _must_rise(self) -> Self:
        for lower, step in pairwise(self.steps):
            rises = step.price_limit_microusd > lower.price_limit_microusd
            if not rises or step.jobs_min < lower.jobs_min or step.spent_microusd_min < lower.spent_microusd_min:
                raise ValueError("each step must let a higher price pass than the one before it, and ask for no less")
        if self.steps[-1].price_limit_microusd > self.floor_microusd:
            raise ValueError("the highest step lies above floor_microusd, which no step passes")
        return self

    @property
    def ladder(self) -> AutonomyLadder:
        """The same in the words of the log."""
        return AutonomyLadder(
            steps=self.steps,
            day_cap_microusd=self.day_cap_microusd,
            valid_us=self.valid_s * SECOND_US,
            floor_microusd=self.floor_microusd,
        )


class Settings(Words):
    """What stands beside the rules: `NAME.toml`. The limits are ceilings that no rule lifts."""

    policy_id: Identifier
    approval_timeout_s: Count
    offer_timeout_s: Count
    min_fidelity: float = Field(ge=0, le=1)
    max_snapshot_age_s: Count
    static_order: tuple[Identifier, ...]
    devices: dict[Identifier, DeviceSetting]
    rates: RateLimits = RateLimits()
    autonomy: LadderSetting | None = None
    shots_max: Count = SHOTS_MAX
    cost_max_microusd: MicroUsd = _COST_MAX
    iterations_max: Count = 1_000


class Example(Words):
    """A request that a policy is meant to answer so."""

    name: str
    verdict: Literal["admit", "ask", "refuse"]
    context: dict[str, Any] = Field(default_factory=dict)
    devices: tuple[Identifier, ...] = Field(default=(), description="on which it may run; empty for all")
    on: tuple[Identifier, ...] | None = Field(default=None, description="those on which it is admitted or asked for")
    rules: tuple[str, ...] | None = None
    gate: str | None = None


class Finding(NamedTuple):
    """Something wrong in a policy's files: which file, which line (0 for all of it), what."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True)
class PolicySet:
    """A policy as its files have it."""

    name: str
    settings: Settings
    rules: str
    examples: tuple[Example, ...] = ()

    def event(self, devices: Sequence[str] | None = None) -> PolicyPublished:
        """The policy as it is published; for some of its devices only, where these are named."""
        said = self.settings
        chosen = [each for each in said.devices if devices is None or each in devices]
        return PolicyPublished(
            policy_id=said.policy_id,
            shots_max=said.shots_max,
            cost_max_microusd=said.cost_max_microusd,
            approval_above_microusd=0,
            approval_timeout_us=said.approval_timeout_s * SECOND_US,
            offer_timeout_us=said.offer_timeout_s * SECOND_US,
            devices=tuple(chosen),
            min_fidelity=said.min_fidelity,
            max_snapshot_age_us=said.max_snapshot_age_s * SECOND_US,
            iterations_max=said.iterations_max,
            static_devices=tuple(each for each in said.static_order if each in chosen),
            rules=self.rules,
            rules_schema=SCHEMA.read_text(),
            device_facts=tuple(
                DeviceFacts(device=each, is_cloud=fact.cloud, region=fact.region, emulates=fact.emulates)
                for each, fact in said.devices.items()
                if each in chosen
            ),
            rates=said.rates,
            autonomy=said.autonomy.ladder if said.autonomy else AutonomyLadder(),
        )


def load(named: Path) -> PolicySet:
    """The policy in files: a directory with one, `NAME.cedar` or `NAME.toml`, or the name of one that comes with us."""
    rules = _rules_file(named)
    beside = rules.with_suffix(".toml")
    examples = rules.with_suffix(".examples.toml")
    if not beside.is_file():
        raise Problem(
            f"{beside} is not there: the settings stand beside the rules", f"Begin with {BUILT_IN}/first-poc.toml"
        )
    return PolicySet(
        rules.stem,
        _read(beside, Settings),
        rules.read_text(),
        _read(examples, _Examples).example if examples.is_file() else (),
    )


def built_in(name: str) -> PolicySet:
    """A policy that comes with us."""
    return load(BUILT_IN / f"{name}.cedar")


class _Examples(Words):
    example: tuple[Example, ...] = ()


def _rules_file(named: Path) -> Path:
    if named.is_dir():
        found = sorted(named.glob("*.cedar"))
        if len(found) != 1:
            raise Problem(f"{named} has {len(found)} files *.cedar", "Name the one that is meant.")
        return found[0]
    rules = named.with_suffix(".cedar")
    if rules.is_file():
        return rules
    if (BUILT_IN / f"{named}.cedar").is_file():
        return BUILT_IN / f"{named}.cedar"
    ours = ", ".join(BUILT_IN_NAMES)
    raise Problem(f"there is no policy {named}: neither a file {rules.name} nor one of ours ({ours})")


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        return kind.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise Problem(f"{path}: {error}") from None
    except ValidationError as error:
        raise Problem(f"{path}: {validation_text(error)}") from None


def check(policy: PolicySet) -> list[Finding]:
    """All that is wrong with a policy: its rules against the schema, its examples, and whom it would lock out."""
    event = policy.event()
    rules = read_rules(event.rules, event.rules_schema)
    if not isinstance(rules, Rules):
        return [Finding(f"{policy.name}.cedar", fault.line, fault.reason) for fault in rules]
    findings = [
        Finding(f"{policy.name}.toml", 0, f"{each.device} emulates {each.emulates}, which is no device of this policy")
        for each in event.device_facts
        if each.emulates and each.emulates not in event.devices
    ]
    if not event.devices:
        findings.append(Finding(f"{policy.name}.toml", 0, "no device is named: everybody would be locked out"))
        return findings
    for number, example in enumerate(policy.examples, 1):
        fault = _fault_of(example, event, rules)
        if fault:
            findings.append(Finding(f"{policy.name}.examples.toml", 0, f"example {number}, {example.name}: {fault}"))
    if not _lets_anybody_in(event, rules):
        reason = "no request could be admitted: everybody would be locked out"
        findings.append(Finding(f"{policy.name}.cedar", _blocking_line(event, rules), reason))
    return findings


def answer(example: Example, event: PolicyPublished, rules: Rules) -> Verdict:
    """What rules say to an example."""
    devices = example.devices or event.devices
    return _verdict(event, rules, devices, SMALL_JOB | example.context)


def gate_text(verdict: Ask) -> str:
    """The people whom a verdict asks for, as a gate says it."""
    duties = "+".join(verdict.roles)
    return f"human:{verdict.quorum}:{duties}" if duties else f"human:{verdict.quorum}"


def _fault_of(example: Example, event: PolicyPublished, rules: Rules) -> str:
    for name, value in example.context.items():
        if name not in SMALL_JOB:
            return f"a context has no {name}; it has {', '.join(SMALL_JOB)}"
        if type(value) is not type(SMALL_JOB[name]):
            return f"{name} must be a {type(SMALL_JOB[name]).__name__}, it is {value!r}"
    strangers = [each for each in (*example.devices, *(example.on or ())) if each not in event.devices]
    if strangers:
        return f"{strangers[0]} is no device of this policy"
    verdict = answer(example, event, rules)
    word = {Admit: "admit", Ask: "ask", Refuse: "refuse"}[type(verdict)]
    said = f"the rules say {word} by {', '.join(verdict.grounds.rules) or 'none'}"
    if word != example.verdict:
        return f"it should be {example.verdict}, {said}"
    if example.rules is not None and set(example.rules) != set(verdict.grounds.rules):
        return f"it should be decided by {', '.join(example.rules)}; {said}"
    if example.gate is not None and (not isinstance(verdict, Ask) or gate_text(verdict) != example.gate):
        return f"the gate should be {example.gate}, it is {gate_text(verdict) if isinstance(verdict, Ask) else 'none'}"
    if example.on is not None and (isinstance(verdict, Refuse) or set(verdict.devices) != set(example.on)):
        devices = () if isinstance(verdict, Refuse) else verdict.devices
        return f"it should run on {', '.join(example.on)}; it may on {', '.join(devices) or 'none'}"
    return ""


def _probes() -> Iterator[dict[str, Any]]:
    for values in product(*_PROBES.values()):
        yield SMALL_JOB | dict(zip(_PROBES, values, strict=True))


def _lets_anybody_in(event: PolicyPublished, rules: Rules) -> bool:
    """Whether any of the requests tried is admitted, or would be once people grant it."""
    return any(not isinstance(_verdict(event, rules, event.devices, probe), Refuse) for probe in _probes())


def _verdict(event: PolicyPublished, rules: Rules, devices: Sequence[str], context: dict[str, Any]) -> Verdict:
    asked = {device: dict(context) for device in devices}
    return Question(rules, entities(event), AGENT, asked, _DIGEST).verdict(None)


def _blocking_line(event: PolicyPublished, rules: Rules) -> int:
    """The line of a rule that forbids every request tried; 0 where several do it together."""
    blocking: set[str] | None = None
    for probe in _probes():
        deciding = set(_verdict(event, rules, event.devices, probe).grounds.rules)
        blocking = deciding if blocking is None else blocking & deciding
    lines = [rule.line for rule in rules.by_name.values() if rule.id in (blocking or ())]
    return min(lines, default=0)


def faults_of_rules(event: PolicyPublished) -> Sequence[Fault]:
    """What is wrong with the rules of a policy as it was published; none for one of limits alone."""
    read = read_rules(event.rules, event.rules_schema) if event.rules else ()
    return () if isinstance(read, Rules) else read
