"""Every principal tries every operation on every topic, for real; what succeeds must be what the tables say."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.admin import (
    AlterConfigsRequest,
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DeleteTopicsRequest,
    DescribeAclsRequest,
    DescribeConfigsRequest,
)
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from qpubus.kafka import acls
from qpubus.kafka.access import Access
from qpubus.kafka.broker import Broker
from qpubus.kafka.cluster import ask, connected
from qpubus.kafka.requests import AlterScram, CreateAcls
from schemas.topics import STAGES, TOPICS, WRITERS, Role

TIMEOUT_MS = 10_000
TOPIC_REFUSED = TopicAuthorizationFailedError.errno
CLUSTER_REFUSED = ClusterAuthorizationFailedError.errno
GROUP_REFUSED = GroupAuthorizationFailedError.errno
ID_REFUSED = TransactionalIdAuthorizationFailed.errno

Probe = Callable[[AIOKafkaClient, str], Awaitable[int]]
"""Tries an operation on a topic; the error code that the broker answers with."""


async def read(client: AIOKafkaClient, topic: str) -> int:
    answer = await ask(client, FetchRequest(0, 0, 1, 1, [(topic, [(0, 0, 1)])]))
    return int(answer.topics[0][1][0][1])


async def describe(client: AIOKafkaClient, topic: str) -> int:
    return int((await ask(client, MetadataRequest([topic], allow_auto_topic_creation=False))).topics[0][0])


async def create(client: AIOKafkaClient, topic: str) -> int:
    return int((await ask(client, CreateTopicsRequest([(topic, 1, 1, [], [])], TIMEOUT_MS, False))).topic_errors[0][1])


async def delete(client: AIOKafkaClient, topic: str) -> int:
    return int((await ask(client, DeleteTopicsRequest([topic], TIMEOUT_MS))).topic_error_codes[0][1])


async def alter(client: AIOKafkaClient, topic: str) -> int:
    return int(
        (await ask(client, CreatePartitionsRequest([(topic, (64, None))], TIMEOUT_MS, False))).topic_errors[0][1]
    )


async def describe_configs(client: AIOKafkaClient, topic: str) -> int:
    return int((await ask(client, DescribeConfigsRequest([(2, topic, None)]))).resources[0][0])


async def alter_configs(client: AIOKafkaClient, topic: str) -> int:
    return int((await ask(client, AlterConfigsRequest([(2, topic, [("retention.ms", "1")])]))).resources[0][0])


async def delete_records(client: AIOKafkaClient, topic: str) -> int:
    answer = await ask(client, DeleteRecordsRequest([(topic, [(0, -1)])], TIMEOUT_MS, {}))
    return int(answer.topics[0][1][0][2])


PROBES: Mapping[str, Probe] = {
    "Read": read,
    "Describe": describe,
    "Create": create,
    "Alter": alter,
    "DescribeConfigs": describe_configs,
    "AlterConfigs": alter_configs,
    "DeleteRecords": delete_records,
    "Delete": delete,
}
OPEN_TO_ALL = {"Describe", "DescribeConfigs"}


def may_write(principal: str, topic: str) -> bool:
    return any(principal in {role.value for role in roles} for roles in WRITERS[topic].values())


def may(principal: str, operation: str, topic: str) -> bool:
    """What the tables say."""
    if operation == "Read":
        return topic in acls.READS[principal] or may_write(principal, topic)
    return operation in OPEN_TO_ALL


async def writes(access: Access, transactional_id: str) -> dict[str, bool]:
    """Whether a principal can write each topic; what it wrote is aborted, so no reader ever sees it."""
    producer = AIOKafkaProducer(**access.aiokafka(), transactional_id=transactional_id)
    can = {}
    await producer.start()
    try:
        for topic in TOPICS:
            await producer.begin_transaction()
            try:
                await (await producer.send(topic, b"a try", key=b"nobody", partition=0))
                can[topic] = True
            except TopicAuthorizationFailedError:
                can[topic] = False
            await producer.abort_transaction()
    finally:
        await producer.stop()
    return can


@pytest.mark.parametrize("principal", acls.PRINCIPALS)
async def test_a_principal_can_do_to_topics_what_the_table_says(broker: Broker, principal: str) -> None:
    async with connected(broker.access(principal)) as client:
        found = {
            (operation, topic): await probe(client, topic) != TOPIC_REFUSED
            for operation, probe in PROBES.items()
            for topic in TOPICS
        }
    assert found == {(operation, topic): may(principal, operation, topic) for operation in PROBES for topic in TOPICS}


@pytest.mark.parametrize("principal", sorted(acls.WRITES))
async def test_a_principal_can_write_the_topics_of_its_role_and_no_other(broker: Broker, principal: str) -> None:
    can = await writes(broker.access(principal), f"{principal}.matrix")
    assert can == {topic: may_write(principal, topic) for topic in TOPICS}


async def test_who_has_no_role_can_write_nothing(broker: Broker) -> None:
    producer = AIOKafkaProducer(**broker.access(acls.VIEWS).aiokafka(), enable_idempotence=False)
    await producer.start()
    try:
        for topic in TOPICS:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(topic, b"a try", key=b"nobody")
    finally:
        await producer.stop()


@pytest.mark.parametrize("principal", acls.PRINCIPALS)
async def test_nobody_can_take_anothers_transactional_id_or_group(broker: Broker, principal: str) -> None:
    async with connected(broker.access(principal)) as client:
        ids = {
            owner: (await ask(client, InitProducerIdRequest(f"{owner}.matrix", TIMEOUT_MS))).error_code != ID_REFUSED
            for owner in acls.PRINCIPALS
        }
        groups = {
            owner: (await ask(client, OffsetFetchRequest(f"{owner}.matrix", None))).error_code != GROUP_REFUSED
            for owner in acls.PRINCIPALS
        }
    assert ids == {owner: owner == principal and principal in acls.WRITES for owner in acls.PRINCIPALS}
    assert groups == {owner: owner == principal for owner in acls.PRINCIPALS}


@pytest.mark.parametrize("principal", acls.PRINCIPALS)
async def test_nobody_but_the_operator_rules_the_cluster(broker: Broker, principal: str) -> None:
    everything = (2, "*", 3, f"User:{principal}", "*", 2, 3)
    async with connected(broker.access(principal)) as client:
        tried = {
            "see ACLs": (await ask(client, DescribeAclsRequest(1, None, 1, None, None, 1, 1))).error_code,
            "allow itself": (await ask(client, CreateAcls([everything]))).creation_responses[0][0],
            "let others in": (await ask(client, AlterScram([("friend", 2, 4_096, b"s", b"p", {})]))).results[0][1],
            "make a topic": await create(client, "backdoor"),
        }
    assert tried == {
        "see ACLs": CLUSTER_REFUSED,
        "allow itself": CLUSTER_REFUSED,
        "let others in": CLUSTER_REFUSED,
        "make a topic": TOPIC_REFUSED,
    }


async def test_the_probes_see_what_is_allowed(broker: Broker) -> None:
    operator = broker.access("operator")
    admin = AIOKafkaAdminClient(**operator.aiokafka())
    await admin.start()
    try:
        await admin.create_topics([NewTopic("probed", 1, 1)])
    finally:
        await admin.close()
    async with connected(operator) as client:
        await client.force_metadata_update()
        for _ in range(200):
            if not await read(client, "probed"):
                break
            await asyncio.sleep(0.05)  # its leader is not there yet
        found = {operation: await probe(client, "probed") for operation, probe in PROBES.items()}
    already_exists = 36
    assert found == dict.fromkeys(PROBES, 0) | {"Create": already_exists}


def test_agents_and_approvers_have_no_way_to_the_broker() -> None:
    assert {Role.AGENT.value, Role.APPROVER.value} & set(acls.PRINCIPALS) == set()


def test_auditors_write_what_they_measured_and_nothing_else() -> None:
    assert acls.WRITES[Role.AUDITOR.value] == {"results"}


def test_no_stage_reads_checkpoints() -> None:
    assert {role for role in STAGES if "checkpoints" in acls.READS[role.value]} == set()
