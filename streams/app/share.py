"""A member's share of the partition numbers: Kafka's group protocol goes in, numbers taken and given up come out.

Membership is all that the consumer here is for. Its partitions are paused and it reads nothing: who serves a number
reads the log by place. The range assignor gives one member the same number of every topic.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

POLL_MS = 500
_HEARTBEATS = 20
"""In a session; so a member hears soon that numbers are to be shared out anew."""


@dataclass(frozen=True, slots=True)
class Duty:
    """How processes share work: this one's name among them, and how long the group waits for one that is silent."""

    member: str
    session_ms: int


def member_arguments(options: Mapping[str, Any], group: str, duty: Duty) -> dict[str, Any]:
    """What an aiokafka consumer is given to be a member of a group that shares numbers out."""
    return {
        **options,
        "client_id": duty.member,
        "group_id": group,
        "group_instance_id": duty.member,
        "session_timeout_ms": duty.session_ms,
        "heartbeat_interval_ms": duty.session_ms // _HEARTBEATS,
        "partition_assignment_strategy": [RangePartitionAssignor],
        "enable_auto_commit": False,
    }


class Share(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka carries no types
    """Membership of a group under a name of its own, so that a member who comes back in time keeps its numbers."""

    def __init__(
        self,
        options: Mapping[str, Any],
        group: str,
        duty: Duty,
        topics: Sequence[str],
        *,
        hold: Callable[[], Awaitable[None]],
        take: Callable[[Collection[int]], None],
    ) -> None:
        """`hold` is awaited before the numbers are shared out anew, then `take` is told those of this member.

        `take` must return at once: while it runs the member sends no heartbeat.
        """
        self._hold = hold
        self._take = take
        self._topics = tuple(topics)
        self._arguments = {**member_arguments(options, group, duty), "auto_offset_reset": "latest"}
        self._consumer: AIOKafkaConsumer | None = None

    async def run(self) -> None:
        """Join the group and stay in it; raises what the group does not forgive."""
        consumer = self._consumer = AIOKafkaConsumer(**self._arguments)
        consumer.subscribe(self._topics, listener=self)
        await consumer.start()
        while True:
            # Nothing is to be read, but here the consumer tells its errors, and learns that somebody is at home.
            await consumer.getmany(timeout_ms=POLL_MS)
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Go. The group keeps this member's numbers for it until its session ends."""
        if self._consumer:
            await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002 (aiokafka's form)
        """Nothing is read from here on."""
        await self._hold()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Those numbers are this member's now."""
        if self._consumer:
            self._consumer.pause(*assigned)
        self._take({each.partition for each in assigned})
