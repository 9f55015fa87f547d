"""Who may do what on the cluster, from the one table of topics and roles. Deny by default: the rest nobody may."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from aiokafka.client import AIOKafkaClient

from agents.party import Party
from qpubus.kafka.cluster import Acl, Operation, Pattern, Resource, allow, allowed, disallow
from schemas.topics import TOPICS, WRITERS, Role
from streams.guard import GUARD
from streams.orchestrator import ORCHESTRATOR
from streams.policy import POLICY
from streams.scheduler import SCHEDULER

VIEWS = "views"
"""The principal of projections: it reads and has no role, for nothing it says stands on the log."""
IMPORTER = "importer"
"""The principal of an import; it is there for the time of one."""

APPLIED_TIMEOUT_S = 30

WRITES: Mapping[str, frozenset[str]] = {
    role.value: topics
    for role in Role
    if (
        topics := frozenset(topic for topic, types in WRITERS.items() if any(role in roles for roles in types.values()))
    )
}
"""Principal → topics that it may write. One principal a role; agents and approvers write nothing and have none."""

READS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(WRITES, frozenset(Party.topics)),
    **{stage.role.value: frozenset(stage.inputs) for stage in (POLICY, SCHEDULER, ORCHESTRATOR, GUARD)},
    **{role.value: frozenset(TOPICS) for role in (Role.ROOT, Role.ADMIN, Role.AUDITOR, Role.SEALER, Role.WITNESS)},
    VIEWS: frozenset(TOPICS),
}
"""Principal → topics that it reads for its work: as a party does, if nothing else is said. It reads its own, too."""

PRINCIPALS = tuple(sorted(READS))


def prefix(principal: str) -> str:
    """How the consumer groups and transactional ids of a principal begin."""
    return f"{principal}."


def acls_of(principal: str) -> set[Acl]:
    """All that a principal of the table may do."""
    return _acls(principal, WRITES.get(principal, frozenset()), READS[principal])


def import_acls() -> set[Acl]:
    """All that the importer may do: write every topic."""
    return _acls(IMPORTER, TOPICS, ())


def declared() -> set[Acl]:
    """All that anyone may do outside of an import."""
    return {acl for principal in PRINCIPALS for acl in acls_of(principal)}


async def apply(client: AIOKafkaClient) -> tuple[set[Acl], set[Acl]]:
    """Bring the cluster to what is declared; what was allowed, and what was taken back.

    An import that was broken off loses what it was allowed, too; and so does one that runs.
    """
    there, wanted = await allowed(client), declared()
    more, less = wanted - there, there - wanted
    if more:
        await allow(client, sorted(more))
    if less:
        await disallow(client, sorted(less))
    await settled(client, lambda now: now == wanted)
    return more, less


async def settled(client: AIOKafkaClient, is_so: Callable[[set[Acl]], bool]) -> None:
    """Wait until a broker goes by it: the controller has it at once, brokers a moment later."""
    async with asyncio.timeout(APPLIED_TIMEOUT_S):
        while True:
            if is_so(await allowed(client)):
                return
            await asyncio.sleep(0.05)


def _acls(principal: str, writes: Iterable[str], reads: Iterable[str]) -> set[Acl]:
    """To every topic: its settings and ends may be known, by which a log is opened. Writers have transactions."""
    known = {
        Acl(principal, operation, Resource.TOPIC, topic)
        for topic in TOPICS
        for operation in (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)
    }
    written = {Acl(principal, Operation.WRITE, Resource.TOPIC, topic) for topic in writes}
    read = {Acl(principal, Operation.READ, Resource.TOPIC, topic) for topic in {*reads, *writes}}
    own = {Acl(principal, Operation.READ, Resource.GROUP, prefix(principal), Pattern.PREFIXED)}
    if written:
        own |= {
            Acl(principal, operation, Resource.TRANSACTIONAL_ID, prefix(principal), Pattern.PREFIXED)
            for operation in (Operation.WRITE, Operation.DESCRIBE)
        }
    return known | written | read | own
