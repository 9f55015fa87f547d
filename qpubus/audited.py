"""Logs as auditors read them: a data directory and trusted root keys go in, a log and its sites come out."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from qpubus.ledger import Cluster, open_copy
from replay.audit import roots_of
from replay.gathering import JobUnknown
from replay.sites import roots_of_sites
from streams.log.port import partition_of
from streams.log.reading import EmbeddedReader

Roots = Mapping[str, bytes]
Home = tuple[str, bytes]
"""A site and its root public key."""
Found = TypeVar("Found")


@contextmanager
def audited(data: Path, named: Sequence[bytes]) -> Iterator[tuple[EmbeddedReader, Roots]]:
    """The log of a data directory as it stands, and the root public key of each of its sites.

    Without `named` that is the one in the directory. Of a log that several sites share every one is to be named; that
    of the data directory comes first.
    """
    with open_copy(data, all_sites=len(named) > 1) as log:
        alone = named[0] if named else None
        roots = asyncio.run(roots_of_sites(log, named) if len(named) > 1 else roots_of(log, alone))
        cluster = Cluster.of(data)
        yield log, dict(sorted(roots.items(), key=lambda each: (cluster is None or each[0] != cluster.site, each[0])))


def at_its_site(
    log: EmbeddedReader, roots: Roots, ask: Callable[[Home, Roots], Coroutine[None, None, Found]]
) -> tuple[Home, Found]:
    """What comes of asking for a job at the site that has it, with the other sites on its partition number.

    `JobUnknown` if no site has it.
    """
    for site, root in roots.items():
        others = {
            name: key
            for name, key in roots.items()
            if name != site
            and partition_of(name.encode(), log.partitions) == partition_of(site.encode(), log.partitions)
        }
        with suppress(JobUnknown):
            return (site, root), asyncio.run(ask((site, root), others))
    raise JobUnknown
