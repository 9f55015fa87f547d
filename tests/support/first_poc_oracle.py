"""What first-poc says to a request, written a second time in plain Python; it shares nothing with Cedar or our code."""

from typing import Any, NamedTuple

USD = 1_000_000
CLASSIFIED = ("confidential", "restricted")
CLOUDS = ("cloud-garnet-1", "cloud-heron-1", "cloud-bargain-1")


class Answer(NamedTuple):
    """What is said to a request on one device: admit, ask or refuse, and the rules that decided."""

    word: str
    rules: frozenset[str]


def oracle(device: str, asked: dict[str, Any]) -> Answer:
    """The answer to a request whose context is `asked`."""
    refused = {
        "cost-limit": asked["costMicrousd"] > 10_000 * USD,
        "shots-limit": asked["shots"] > 20_000_000,
        "iterations-limit": asked["iterations"] > 100,
        "rate-limit": asked["intentsLastHour"] >= 600,
        "classified-stays-home": device in CLOUDS and asked["dataClass"] in CLASSIFIED,
        "classified-needs-a-sandbox": (
            asked["programs"] > 0
            and asked["dataClass"] in CLASSIFIED
            and not {"no network", "no other files"} <= set(asked["isolation"])
        ),
        "calibration-age": asked["calibrationAgeS"] > 24 * 3_600,
        "fidelity-range": asked["fidelityPpm"] < 900_000,
    }
    if any(refused.values()):
        return Answer("refuse", _names(refused))
    cost = asked["costMicrousd"]
    has_leave = asked["mandated"] or asked["autonomyUpToMicrousd"] >= cost
    waiting = {
        "price-asks-human": cost > 50 * USD and not has_leave,
        "key-held-by-gateway-asks-human": (
            asked["assurance"] == "gateway-held" and cost > 10 * USD and not asked["mandated"]
        ),
        "dear-always-asks-human": cost > 1_000 * USD,
        "restricted-always-asks-human": asked["dataClass"] == "restricted",
    }
    if any(waiting.values()):
        return Answer("ask", _names(waiting))
    return Answer("admit", frozenset({"agents-run-jobs"}))


def _names(rules: dict[str, bool]) -> frozenset[str]:
    return frozenset(name for name, holds in rules.items() if holds)
