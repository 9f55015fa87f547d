"""The start-up guard of the Kafka engine: which settings of a topic could lose history, and how to mend them."""

import pytest

from streams.log.kafka.guard import faults
from streams.log.kafka.settings import LEDGER

SAFE = {**LEDGER, "min.insync.replicas": "2"}


def test_a_topic_made_for_a_ledger_has_no_fault() -> None:
    assert faults("intents", SAFE, 3) == []
    assert faults("intents", {**SAFE, "min.insync.replicas": "1"}, 1) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("retention.ms", "604800000"),
        ("retention.bytes", "1073741824"),
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("unclean.leader.election.enable", "true"),
        ("message.timestamp.type", "CreateTime"),
        ("compression.type", "producer"),
        ("max.message.bytes", "1048588"),
        ("min.insync.replicas", "1"),
    ],
    ids=str,
)
def test_a_setting_that_could_lose_history_is_named_with_what_mends_it(setting: str, value: str) -> None:
    (fault,) = faults("intents", {**SAFE, setting: value}, 3)
    assert fault.startswith(f"intents: {setting} is {value}")
    assert f"--entity-name intents --add-config {setting}=" in fault


def test_a_remote_store_may_hold_a_second_copy_and_not_the_only_one() -> None:
    tiered = {**SAFE, "remote.storage.enable": "true", "local.retention.ms": "-2", "local.retention.bytes": "-2"}
    assert faults("intents", tiered, 3) == []
    assert faults("intents", {**SAFE, "local.retention.ms": "86400000"}, 3) == []
    for name in ("local.retention.ms", "local.retention.bytes"):
        (fault,) = faults("intents", {**tiered, name: "86400000"}, 3)
        assert fault.startswith(f"intents: {name} is 86400000 with remote.storage.enable")
        assert fault.endswith(f"--add-config {name}=-1")
