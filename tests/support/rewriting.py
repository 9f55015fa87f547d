"""An attacker who has the data directory and every key but a witness's: a log is written anew as they would have it."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from schemas.admission import Stored
from streams.log.embedded import EmbeddedLog, create
from streams.log.head import Memory
from streams.log.reading import open_copy

Change = Callable[[list[Stored]], Sequence[Stored]]


async def rewrite(directory: Path, change: Change) -> None:
    """Write the log in a directory anew, with row chain, head and memory that fit. `change` gets all its records."""
    with open_copy(directory) as log:
        settings = log.settings
        records = [stored for topic in log.topics for stored in log.rows(topic, 0)]
    path = Memory(settings.log_id).path
    assert path
    path.unlink(missing_ok=True)
    fresh = directory.with_name(f"{directory.name}-fresh")
    create(fresh, settings.partitions, settings.topics, settings.log_id)
    changed = change(records)
    times = iter([stored.append_time_us for stored in changed])
    rewritten = EmbeddedLog(fresh, lambda: next(times))
    for stored in changed:
        await rewritten.append([stored.record])
    await rewritten.close()
    shutil.copy(directory / "root.pub", fresh)
    shutil.rmtree(directory)
    fresh.rename(directory)
