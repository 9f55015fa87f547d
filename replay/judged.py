"""Every record of a log with the verdict on it, topic after topic: what exports and reports are made from."""

from collections.abc import Iterator, Mapping
from itertools import groupby, islice

from schemas.admission import Admission, Admitted, Refused, Stored
from schemas.envelope import Record
from streams.log.port import partition_of
from streams.log.reading import EmbeddedReader

_CHUNK = 1_024

Judged = Admitted | Refused


def judged(log: EmbeddedReader, roots: Mapping[str, bytes]) -> Iterator[tuple[str, Judged]]:
    """The site and the verdict of every record, governance first; `roots` gives each site's root public key.

    What a revoked key said before its end counts. A record whose key is no site's counts for the first site.
    """
    for partition in range(log.partitions):
        here = {site: root for site, root in roots.items() if partition_of(site.encode(), log.partitions) == partition}
        admissions = {
            site: Admission(root, site, topics=frozenset(), passes_over_revocations=True)
            for site, root in (here or roots).items()
        }
        for topic in log.topics:
            rows = log.rows(topic, partition)
            while chunk := list(islice(rows, _CHUNK)):
                for site, neighbours in groupby(chunk, key=lambda stored: _site(stored, admissions)):
                    for verdict in admissions[site].admit(list(neighbours)):
                        yield site, verdict


def _site(stored: Stored, admissions: Mapping[str, Admission]) -> str:
    key = stored.record.key if isinstance(stored.record, Record) else (stored.record.key or b"").decode("latin-1")
    return key if key in admissions else min(admissions)
