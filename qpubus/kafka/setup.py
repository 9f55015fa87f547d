"""A cluster made ready for the bus: topics, one user a principal with a password of its own, their ACLs."""

from qpubus.kafka import acls
from qpubus.kafka.broker import Broker
from qpubus.kafka.cluster import connected, health, set_users
from qpubus.kafka.settings import OPERATOR, in_sync_min, replicas
from qpubus.kafka.topics import DEFAULT_PARTITIONS, create_topics


async def set_up(broker: Broker, partitions: int = DEFAULT_PARTITIONS) -> None:
    """Make what is not there yet and bring ACLs to what is declared; passwords lie in the broker's directory."""
    operator = broker.access(OPERATOR)
    nodes = (await health(operator)).nodes
    await create_topics(operator, partitions, replicas=replicas(nodes), replicas_in_sync_min=in_sync_min(nodes))
    accesses = [broker.access(principal) for principal in acls.PRINCIPALS]
    async with connected(operator) as client:
        await set_users(client, {each.principal: each.password for each in accesses})
        await acls.apply(client)
