"""Cedar and an oracle in plain Python say the same to every request under the default policy."""

from collections import Counter
from random import Random
from typing import Any

import pytest

from qpubus.policy_set import SMALL_JOB, built_in
from replay.whatif import word_of
from streams.policy.cedar import Gate, Rules, read_rules
from streams.policy.judging import Question
from streams.policy.request import entities
from streams.policy.wish import Admit
from tests.support.first_poc_oracle import Answer, oracle

POLICY = built_in("first-poc").event()
PHRASES = ("no network", "no other files", "no other processes", "bounded space", "network not cut off")
EDGES: dict[str, tuple[int, ...]] = {
    "costMicrousd": (10_000_000, 50_000_000, 200_000_000, 1_000_000_000, 2_000_000_000, 10_000_000_000, (1 << 62) - 1),
    "shots": (1, 20_000_000, 100_000_000),
    "iterations": (1, 100, 1_000),
    "intentsLastHour": (0, 1, 600),
    "calibrationAgeS": (0, 60, 86_400, 9_007_199_254_740_991),
    "fidelityPpm": (950_000, 1_000_000, 900_000, 0),
    "autonomyUpToMicrousd": (0, 50_000_000, 1_000_000_000),
    "programs": (0, 1, 3),
}


def near(rng: Random, edges: tuple[int, ...]) -> int:
    """A number at, beside or between edges."""
    edge = rng.choice((*edges[:-1], *edges))
    return min(max(0, edge + rng.choice((-1, 0, 0, 1, rng.randint(-1_000_000, 1_000_000)))), (1 << 62) - 1)


def request(rng: Random) -> tuple[str, dict[str, Any]]:
    """A device and a context: mostly a small job with a few things changed, so that single rules decide."""
    context = dict(SMALL_JOB)
    numbers = {name: near(rng, edges) for name, edges in EDGES.items()}
    others: dict[str, Any] = {
        "dataClass": rng.choice(("public", "internal", "confidential", "restricted")),
        "assurance": rng.choice(("file", "hardware", "demo", "gateway-held")),
        "isolation": rng.sample(PHRASES, rng.randint(0, len(PHRASES))),
        "mandated": rng.random() < 0.5,
        "hour": rng.randint(0, 23),
        "weekday": rng.randint(1, 7),
    }
    drawn = numbers | others
    context |= {name: drawn[name] for name in rng.sample(sorted(drawn), rng.choice((1, 1, 1, 2, 2, 3, len(drawn))))}
    return rng.choice(POLICY.devices), context


def by_cedar(device: str, context: dict[str, Any]) -> tuple[Answer, Question]:
    rules = read_rules(POLICY.rules, POLICY.rules_schema)
    assert isinstance(rules, Rules)
    question = Question(rules, entities(POLICY), "agent:any", {device: context}, "0" * 64)
    verdict = question.verdict(None)
    return Answer(word_of(verdict), frozenset(verdict.grounds.rules)), question


def agree(seed: int, count: int) -> Counter[str]:
    """How often each answer was given; both must have given it."""
    rng, words = Random(seed), Counter[str]()  # noqa: S311 - a seeded sample, no secret
    for _ in range(count):
        device, context = request(rng)
        said, question = by_cedar(device, dict(context))
        assert said == oracle(device, context), (device, context)
        words[said.word] += 1
        if said.word == "ask":
            assert isinstance(question.verdict(Gate(1, ())), Admit), (device, context)
    return words


def test_on_a_sample_of_requests() -> None:
    words = agree(seed=6, count=2_000)
    assert min(words[word] for word in ("admit", "ask", "refuse")) > 100


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_on_100_000_requests() -> None:
    words = agree(seed=600, count=100_000)
    assert sum(words.values()) == 100_000
    assert min(words[word] for word in ("admit", "ask", "refuse")) > 5_000
