"""A job run again from a data directory: its log, artefacts and ledgers go in, what came of it comes out.

Apart from its command because it takes the emulator, which takes seconds to import.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from agents.artifacts import ArtifactStore
from agents.devices.fleet import EmulatedDevice, open_fleet
from agents.enclosure import Enclosure
from qpubus.ledger import open_copy
from qpubus.place import Place
from replay.audit import roots_of
from replay.reproduce import Reproduction, last_program_in, reproduce
from replay.stored import JobUnreproducible, StoredJob, stored_job
from schemas.events import SiteFounded
from schemas.topics import TOPICS
from streams.log.port import partition_of
from streams.reader import Reader
from streams.stage import Heard


async def rerun(job_id: str, place: Place, seed: int, root: bytes | None) -> Reproduction:
    """Run a job again; `JobUnreproducible` says what is missing for it. Nothing in the directory is changed."""
    job, fleet_seed = await _stored(job_id, place.directory, root)
    if not place.artifacts.is_dir():
        raise JobUnreproducible(f"there are no documents in {place.artifacts}; bring the artefacts of this log there")
    artifacts = ArtifactStore(place.artifacts)
    program = last_program_in(Enclosure(), job, artifacts)
    with TemporaryDirectory(prefix="qpubus-ledgers-") as aside:
        devices = _devices(job, place.devices, Path(aside), fleet_seed)
        return await reproduce(job, artifacts, seed, program, devices)


async def _stored(job_id: str, directory: Path, root: bytes | None) -> tuple[StoredJob, int]:
    """The job as its log tells it, and the seed of the site's fleet."""
    with open_copy(directory) as log:
        roots = await roots_of(log, root)
        [site] = roots
        reader = Reader(log, partition_of(site.encode(), log.partitions), TOPICS, roots)
        reader.admission(site).passes_over_revocations = True
        heard: list[Heard] = []
        while items := await reader.read():
            heard += (item for item in items if isinstance(item, Heard))
    seeds = [each.event.seed for each in heard if isinstance(each.event, SiteFounded)]
    return stored_job(job_id, heard), seeds[0] if seeds else 0


def _devices(job: StoredJob, ledgers: Path, aside: Path, seed: int) -> Mapping[str, EmulatedDevice] | None:
    """The devices that the job ran on, over copies of their ledgers; None if one of these is not there."""
    used = {circuit.device for circuit in job.circuits()}
    files = [path for device in used for path in ledgers.glob(f"{device}.ledger.sqlite*")]
    if len({path.name.split(".ledger", 1)[0] for path in files}) < len(used):
        return None
    for path in files:
        shutil.copy(path, aside)
    return open_fleet(aside, seed, only=used)
