"""What an operator asks of a cluster: its health, its users, its ACLs."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import DescribeAclsRequest

from qpubus.kafka.access import SCRAM_ITERATIONS, Access
from qpubus.kafka.requests import AlterScram, CreateAcls, DeleteAcls
from qpubus.problem import Problem

SCRAM_SHA_512 = 2
_ANY, _ALLOW = 1, 3


class Resource(IntEnum):
    """Kafka's kinds of things that ACLs are about (`ResourceType`)."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5


class Pattern(IntEnum):
    """How an ACL names them (`PatternType`)."""

    LITERAL = 3
    PREFIXED = 4


class Operation(IntEnum):
    """What can be allowed (`AclOperation`)."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12


class Acl(NamedTuple):
    """One thing that a principal may do, from any host. Nothing is ever denied: what is not allowed is not."""

    principal: str
    operation: Operation
    resource: Resource
    name: str
    pattern: Pattern = Pattern.LITERAL


@dataclass(frozen=True, slots=True)
class Health:
    """What a cluster says of itself."""

    bootstrap: str
    nodes: int
    topics: tuple[str, ...]


@asynccontextmanager
async def connected(access: Access) -> AsyncIterator[AIOKafkaClient]:
    """A client of the cluster, closed at the end."""
    client = AIOKafkaClient(client_id=f"qpubus-{access.principal}", **access.aiokafka())
    try:
        await client.bootstrap()
        yield client
    finally:
        await client.close()


async def ask(client: AIOKafkaClient, request: Any) -> Any:
    """The answer of any node; a broker in KRaft hands to its controller what only that can do."""
    return await client.send(client.get_random_node(), request)


async def health(access: Access) -> Health:
    """Really ask for metadata, as `access`; `KafkaError` if there is no answer."""
    async with connected(access) as client:
        metadata = await client.fetch_all_metadata()
        return Health(
            access.bootstrap, len(metadata.brokers()), tuple(sorted(metadata.topics(exclude_internal_topics=True)))
        )


async def set_users(client: AIOKafkaClient, passwords: dict[str, str]) -> None:
    """Let these users in by these passwords, of which only a salted hash is sent."""
    upsertions: list[tuple[Any, ...]] = []
    for user, password in passwords.items():
        salt = secrets.token_bytes(32)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, SCRAM_ITERATIONS)
        upsertions.append((user, SCRAM_SHA_512, SCRAM_ITERATIONS, salt, salted, {}))
    _accept(((each[1], each[2]) for each in (await ask(client, AlterScram(upsertions))).results), "set a user")


async def allow(client: AIOKafkaClient, acls: Iterable[Acl]) -> None:
    """Allow what is not allowed yet."""
    answer = await ask(client, CreateAcls([_binding(acl) for acl in acls]))
    _accept(answer.creation_responses, "set an ACL")


async def disallow(client: AIOKafkaClient, acls: Iterable[Acl]) -> None:
    """Take back what was allowed."""
    answer = await ask(client, DeleteAcls([_binding(acl) for acl in acls]))
    _accept(((each[0], each[1]) for each in answer.filter_responses), "delete an ACL")


async def allowed(client: AIOKafkaClient) -> set[Acl]:
    """All that is allowed in the cluster; `Problem` at anything that is not of our kind, such as a DENY."""
    answer = await ask(client, DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY))
    _accept([(answer.error_code, answer.error_message)], "read the ACLs")
    found = set()
    for resource, name, pattern, acls in answer.resources:
        for principal, host, operation, permission in acls:
            if host != "*" or permission != _ALLOW or not principal.startswith("User:"):
                raise Problem(f"the cluster has an ACL of another's making: {principal} from {host} on {name}")
            user = principal.removeprefix("User:")
            found.add(Acl(user, Operation(operation), Resource(resource), name, Pattern(pattern)))
    return found


def _binding(acl: Acl) -> tuple[int, str, int, str, str, int, int]:
    return (acl.resource, acl.name, acl.pattern, f"User:{acl.principal}", "*", acl.operation, _ALLOW)


def _accept(results: Iterable[Sequence[Any]], what: str) -> None:
    """`KafkaError` at the first (error code, message) that is one."""
    for code, message in results:
        if code:
            error: type[KafkaError] = for_code(code)
            raise error(f"cannot {what}: {message or error.description}")
