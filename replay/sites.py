"""Whose a log is: the sites that were founded on it, and by which trust anchors."""

from collections.abc import Collection, Sequence

from schemas.admission import Admission, Admitted
from schemas.envelope import Record
from schemas.events import SiteFounded
from schemas.keys import key_id
from schemas.words import wire_name
from streams.log.port import LogError, ReadableLog

_FETCH = 2_048
_FOUNDED = wire_name(SiteFounded)


async def sites_of(log: ReadableLog, partition: int) -> set[str]:
    """The names under which sites were founded on a partition number, whether or not anyone believes it."""
    names: set[str] = set()
    at = 0
    while records := await log.read("governance", partition, at, _FETCH):
        at = records[-1].offset + 1
        names |= {
            stored.record.key
            for stored in records
            if isinstance(stored.record, Record) and stored.record.type == _FOUNDED
        }
    return names


async def founded(log: ReadableLog, partition: int, anchors: Collection[bytes]) -> dict[str, bytes]:
    """The sites of a partition number whose first record one of these root public keys has signed, each with it."""
    found: dict[str, bytes] = {}
    known: set[str] = set()
    at = 0
    while records := await log.read("governance", partition, at, _FETCH):
        at = records[-1].offset + 1
        for stored in records:
            if not isinstance(stored.record, Record) or stored.record.key in known:
                continue
            known.add(stored.record.key)
            for anchor in anchors:
                if isinstance(next(Admission(anchor, stored.record.key).admit([stored])), Admitted):
                    found[stored.record.key] = anchor
    return found


async def roots_of_sites(log: ReadableLog, anchors: Sequence[bytes]) -> dict[str, bytes]:
    """The root public key of each site of a log. `LogError` unless these are the anchors of all its sites."""
    roots: dict[str, bytes] = {}
    names: set[str] = set()
    for partition in range(log.partitions):
        roots |= await founded(log, partition, anchors)
        names |= await sites_of(log, partition)
    if strangers := sorted(names - roots.keys()):
        raise LogError(
            f"the log also holds {', '.join(strangers)}, founded under none of the root keys that were named; "
            "name the root key of each of its sites: --root once for each"
        )
    for anchor in anchors:
        if anchor not in roots.values():
            raise LogError(f"no site of this log was founded under the root key {key_id(anchor)}")
    return roots
