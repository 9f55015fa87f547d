"""The references on Kafka, each a process that passes the bytes of one topic on to another, as its documentation shows.

python -m qpubus.bench.kafka_peers faust|quixstreams ACCESS FROM TO
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qpubus.kafka.access import MECHANISM, Access


def faust(access: Access, source: str, sink: str) -> None:
    """A Faust agent."""
    import faust  # noqa: PLC0415 - each process loads the one that it measures

    credentials = faust.SASLCredentials(
        username=access.principal,
        password=access.password,
        mechanism=MECHANISM,
        ssl_context=access.aiokafka()["ssl_context"],
    )
    app = faust.App(
        f"{access.principal}.{sink}",
        broker=f"kafka://{access.bootstrap}",
        broker_credentials=credentials,
        topic_disable_leader=True,
        web_enabled=False,
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
    )
    taken = app.topic(source, value_type=bytes)
    given = app.topic(sink, value_type=bytes)

    @app.agent(taken)
    async def pass_on(values: Any) -> None:
        async for value in values:
            await given.send(value=value)

    faust.Worker(app, loglevel="WARNING", quiet=True).execute_from_commandline()


def quixstreams(access: Access, source: str, sink: str) -> None:
    """A quixstreams dataframe."""
    from quixstreams import Application  # noqa: PLC0415 - likewise
    from quixstreams.kafka import ConnectionConfig  # noqa: PLC0415 - likewise

    app = Application(
        broker_address=ConnectionConfig.from_librdkafka_dict(access.librdkafka()),
        consumer_group=f"{access.principal}.{sink}",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="WARNING",
    )
    taken = app.topic(source, value_deserializer="bytes")
    given = app.topic(sink, value_serializer="bytes")
    app.dataframe(taken).to_topic(given)
    app.run()


PEERS: dict[str, Callable[[Access, str, str], None]] = {"faust": faust, "quixstreams": quixstreams}

if __name__ == "__main__":
    PEERS[sys.argv[1]](Access.read(Path(sys.argv[2])), *sys.argv[3:5])
