"""The start-up guard: refuses a ledger topic that could lose its history, and says which, why, and what mends it."""

from collections.abc import Mapping, Sequence

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from streams.log.kafka.settings import LEDGER
from streams.log.kafka.wire import Options
from streams.log.port import LogError

REPLICAS_IN_SYNC_MIN = 2
"""So many brokers hold what was acknowledged, where a topic has more than one replica."""
_MIN_IN_SYNC = "min.insync.replicas"
_TIERED, _LOCAL = "remote.storage.enable", ("local.retention.ms", "local.retention.bytes")
_KEPT = {"", "-1", "-2"}
"""For ever, or as the topic as a whole, which is for ever, too."""
_HARM = {
    "cleanup.policy": "records would be compacted away",
    "retention.ms": "records would be deleted by age",
    "retention.bytes": "records would be deleted by size",
    "message.timestamp.type": "writers would date records themselves",
    "unclean.leader.election.enable": "acknowledged records could be lost with a broker",
    "compression.type": "a small batch could unpack to more than any reader can hold",
    "max.message.bytes": "a record of the size that readers take would be refused",
}


class LedgerUnsafe(LogError):
    """Topics of the ledger are set so that history could be lost; the message says which and how to mend it."""


async def check_ledger(options: Options, topics: Sequence[str]) -> None:
    """`LedgerUnsafe` unless every topic keeps all that is acknowledged, for ever."""
    admin = AIOKafkaAdminClient(**options)
    bootstrap = str(options["bootstrap_servers"])
    try:
        await admin.start()
        described = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, each) for each in topics])
        told = await admin.describe_topics(list(topics))
    except (KafkaError, OSError) as error:
        raise LogError(f"the topics at {bootstrap} cannot be looked at: {error or type(error).__name__}") from None
    finally:
        await admin.close()
    replicas = {
        topic["topic"]: min((len(each["replicas"]) for each in topic["partitions"]), default=0) for topic in told
    }
    findings: list[str] = []
    for answer in described:
        for code, message, _, topic, entries in answer.resources:
            if code:
                raise LogError(
                    f"the settings of {topic} at {bootstrap} cannot be read: {message or for_code(code).__name__}"
                )
            findings += faults(topic, {entry[0]: entry[1] for entry in entries}, replicas.get(topic, 0))
    if findings:
        raise LedgerUnsafe(f"the ledger at {bootstrap} could lose history:\n" + "\n".join(findings))


def faults(topic: str, settings: Mapping[str, str | None], replicas: int) -> list[str]:
    """What is wrong with the settings of a topic that has so many replicas, each with what mends it."""
    wrong = [
        f"{topic}: {name} is {settings.get(name)}: {_HARM[name]}; {_mend(topic, name, wanted)}"
        for name, wanted in LEDGER.items()
        if not _holds(name, settings.get(name) or "", wanted)
    ]
    if settings.get(_TIERED) == "true":
        wrong += [
            f"{topic}: {name} is {settings[name]} with {_TIERED}: old records would be in a remote store alone, whose "
            f"copies Kafka neither counts nor checks; {_mend(topic, name, '-1')}"
            for name in _LOCAL
            if (settings.get(name) or "") not in _KEPT
        ]
    in_sync = int(settings.get(_MIN_IN_SYNC) or 0)
    if in_sync < min(replicas, REPLICAS_IN_SYNC_MIN):
        wrong.append(
            f"{topic}: {_MIN_IN_SYNC} is {in_sync} with {replicas} replicas: what one broker alone has acknowledged is "
            f"lost with it; {_mend(topic, _MIN_IN_SYNC, str(REPLICAS_IN_SYNC_MIN))}"
        )
    return wrong


def _holds(name: str, setting: str, wanted: str) -> bool:
    if name == "max.message.bytes":
        return setting.isdecimal() and int(setting) >= int(wanted)
    return setting == wanted


def _mend(topic: str, name: str, wanted: str) -> str:
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {name}={wanted}"
