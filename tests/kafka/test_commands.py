from pathlib import Path

import pytest

from qpubus.kafka import acls
from qpubus.kafka.broker import Broker
from qpubus.kafka.cluster import Acl, Operation, Resource, allow, allowed, connected
from qpubus.kafka.settings import OPERATOR
from schemas.topics import TOPICS
from tests.support.commands import Done, qpubus


def run(*words: str | Path) -> Done:
    """What a command leaves, once it has done its work."""
    done = qpubus("kafka", *words)
    assert done.code == 0, done.err
    return done


def test_status_tells_what_the_broker_answers(broker: Broker) -> None:
    told = run("status", "--data", broker.directory, "--json").json
    assert told["bootstrap"] == broker.access(OPERATOR).bootstrap
    assert set(told["topics"]) >= set(TOPICS)
    assert told["registry"] is None


def test_start_is_content_with_a_broker_that_runs(broker: Broker) -> None:
    assert "Kafka answers at" in run("start", "--data", broker.directory).out


@pytest.mark.usefixtures("broker")
def test_nothing_runs_in_a_directory_where_nothing_was_started(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("nothing")
    done = qpubus("kafka", "status", "--data", directory)
    assert done.code == 1
    assert f"qpubus kafka start --data {directory}" in done.err
    assert "No Kafka runs" in run("stop", "--data", directory).out


def test_the_table_of_principals_and_topics_is_shown() -> None:
    lines = {words[0]: words[1:] for line in run("acls").out.splitlines() if (words := line.split())}
    assert lines["principal"][: len(TOPICS)] == list(TOPICS)
    assert lines["clock"][TOPICS.index("alarms")] == "RW"
    assert lines["views"][TOPICS.index("alarms")] == "R"
    assert lines["policy"][TOPICS.index("checkpoints")] == "-"


def test_the_table_is_there_for_programs() -> None:
    told = run("acls", "--json").json
    assert {"principal": "clock", "allowed": "WRITE", "on": "TOPIC", "name": "alarms", "pattern": "LITERAL"} in told
    assert len(told) == len(acls.declared())


async def test_applying_the_table_takes_back_what_is_not_in_it_and_gives_what_is_missing(broker: Broker) -> None:
    operator = broker.access(OPERATOR)
    async with connected(operator) as client:
        much = Acl("clock", Operation.ALTER_CONFIGS, Resource.TOPIC, "results")
        await allow(client, [much])
        await acls.settled(client, lambda now: much in now)
        more, less = await acls.apply(client)
        assert (more, less) == (set(), {much})
        assert await allowed(client) == acls.declared()
