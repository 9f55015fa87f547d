"""Founding a site on Kafka: keys in a data directory, the first events on the log in one transaction.

The file that says where the log is comes last. A founding that was killed before is begun again with the keys it made,
and finds its own first events if they had got there.
"""

import os

from qpubus.founding import Founding, prepared
from qpubus.governing import TOPIC
from qpubus.ledger import Cluster
from qpubus.place import Place
from qpubus.problem import Problem
from schemas.admission import Admission, Admitted, Stored
from schemas.envelope import Record
from schemas.topics import Role
from streams.disk import put
from streams.log.kafka.reading import KafkaReader
from streams.log.making import locked
from streams.log.port import ReadableLog, partition_of

FOUNDER = f"{Role.ROOT.value}:founding"
_FETCH = 512


async def found_on_kafka(place: Place, founding: Founding, cluster: Cluster) -> None:
    """Found a site; `Problem` if there is one in `place`, or one of this name under another root key on the log."""
    place.directory.mkdir(parents=True, exist_ok=True)
    lock = locked(place.directory)
    try:
        if place.has_log:
            raise Problem(f"there is a site in {place.directory} already", "Name another data directory, or use it.")
        reader = await cluster.open_reader(Role.ROOT.value)
        try:
            await _append(place, founding, Cluster(cluster.access, cluster.registry, founding.site), reader)
        finally:
            await reader.close()
        put(place.cluster, cluster.text(founding.site).encode())
        place.founding.unlink(missing_ok=True)
    finally:
        os.close(lock)


async def _append(place: Place, founding: Founding, cluster: Cluster, reader: KafkaReader) -> None:
    log = cluster.late_log(FOUNDER, reader)  # only one process at a time founds a site of this name
    try:
        first = await _first_of(founding.site, log)
        if first is None:
            await log.append(prepared(place, founding))
            return
        if place.root_public_key.exists():
            root_public_key = bytes.fromhex(place.root_public_key.read_text())
            if isinstance(next(Admission(root_public_key, founding.site).admit([first])), Admitted):
                return
        raise Problem(
            f"a site {founding.site} was founded at {reader.bootstrap} already, under another root key",
            "Choose another name with --site, or use the data directory with which it was founded.",
        )
    finally:
        await log.close()


async def _first_of(site: str, log: ReadableLog) -> Stored | None:
    """The first record of governance that has a site's key."""
    partition, at = partition_of(site.encode(), log.partitions), 0
    while records := await log.read(TOPIC, partition, at, _FETCH):
        for stored in records:
            if isinstance(stored.record, Record) and stored.record.key == site:
                return stored
        at = records[-1].offset + 1
    return None
