"""Where a site's log is: in its data directory, or on Kafka if a file there says so. Chosen once, when it is founded.

    access = "/etc/qpubus/access"     # a folder of NAME.properties, one a principal, as `qpubus kafka start` writes it
    registry = "http://localhost:8081/apis/ccompat/v7"     # a schema registry that mirrors the log's schemas; or none
    site = "site-a"

These lines are DIR/kafka.toml; in a file for `--config` the first two stand in its table `[kafka]`.
"""

import asyncio
import tempfile
import tomllib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from qpubus.copying import Copying
from qpubus.kafka.access import Access
from qpubus.place import Place
from qpubus.problem import Problem
from replay.sites import sites_of
from schemas.topics import Role
from streams.disk import read_small
from streams.log import reading as embedded
from streams.log.database import Settings
from streams.log.kafka.late import LateLog
from streams.log.kafka.reading import KafkaReader
from streams.log.making import new_log
from streams.log.port import ReadableLog, partition_of
from streams.log.reading import EmbeddedReader

_FILE_BYTES_MAX = 1 << 20
VIEWS, AUDITOR, ADMIN = "views", Role.AUDITOR.value, Role.ADMIN.value
GOVERNOR = f"{ADMIN}:governing"
"""As whom the records of root and admins are written on Kafka; their seals say who they really are of."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """How a site reaches its log on Kafka."""

    access: Path
    registry: str = ""
    site: str = ""

    @classmethod
    def of(cls, directory: Path) -> "Cluster | None":
        """What a data directory says; None if its log lies in it."""
        path = Place(directory).cluster
        return cls._read(path, None) if path.exists() else None

    @classmethod
    def configured(cls, path: Path) -> "Cluster":
        """The table `[kafka]` of a configuration file."""
        return cls._read(path, "kafka")

    @classmethod
    def _read(cls, path: Path, table: str | None) -> "Cluster":
        help_ = f'Write: access = "FOLDER"{f", in a table [{table}]" if table else ""}; registry = "URL" may follow.'
        try:
            said = tomllib.loads(read_small(path, _FILE_BYTES_MAX, doubted=table is None).decode())
            said = said if table is None else said[table]
            match said:
                case {"access": str(access), **others} if set(others) <= {"registry", "site"}:
                    registry, site = others.get("registry", ""), others.get("site", "")
                    if isinstance(registry, str) and isinstance(site, str):
                        return cls(path.parent / access, registry, site)
        except OSError as error:
            raise Problem(f"{path}: {error.strerror}", "Name a TOML file that can be read.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Problem(f"{path} is no TOML: {error}", help_) from None
        except KeyError:
            pass
        raise Problem(f"{path} does not say how the log on Kafka is reached", help_)

    def text(self, site: str) -> str:
        """The lines of a data directory's pointer."""
        lines = {"access": str(self.access.absolute()), "registry": self.registry, "site": site}
        return "".join(f'{name} = "{text}"\n' for name, text in lines.items() if text)

    def principal(self, name: str) -> Access:
        """How a principal reaches the broker."""
        path = self.access / f"{name}.properties"
        if not path.exists():
            raise Problem(f"{path} is missing: it says how {name} reaches the broker", "Bring it from who runs Kafka.")
        return Access.read(path)

    async def open_reader(self, name: str = VIEWS, index: Path | None = None) -> KafkaReader:
        """The log, for reading, as a principal."""
        return await KafkaReader.open(self.principal(name).aiokafka(), index=index)

    def late_log(self, source: str, reader: KafkaReader) -> LateLog:
        """The log as the one process writes it that speaks as `source` at this site."""
        kind, _, name = source.partition(":")
        principal = name if kind == "stage" else kind
        partition = partition_of(self.site.encode(), reader.partitions)
        holder = f"{principal}.{partition}" if kind == "stage" else f"{principal}.{name or principal}.{self.site}"
        return LateLog(self.principal(principal).aiokafka(), holder, reader)


def shared(names: set[str], instead: str) -> Problem:
    """A log that several sites share cannot be taken for the log of one of them."""
    return Problem(f"the log holds several sites: {', '.join(sorted(names))}", instead, code="sites_shared")


@asynccontextmanager
async def open_reading(directory: Path) -> AsyncIterator[ReadableLog]:
    """The log of a data directory, for reading, wherever it is."""
    cluster = Cluster.of(directory)
    log: ReadableLog = await cluster.open_reader() if cluster else EmbeddedReader(directory)
    try:
        yield log
    finally:
        await log.close()


@contextmanager
def open_copy(directory: Path, access: Path | None = None, *, all_sites: bool = False) -> Iterator[EmbeddedReader]:
    """The log of a data directory as it stands now, for an audit; nothing is changed.

    A log on Kafka is copied into a private place first, record by record: an audit reads every byte anyway. `access`
    names the file of a principal that may read it, where the data directory does not say. A log that several sites
    share is refused, unless it is to be read for `all_sites`.
    """
    cluster = Cluster.of(directory)
    if access is None and cluster is None:
        with embedded.open_copy(directory) as log:
            yield log
        return
    options = Access.read(access) if access else cluster.principal(AUDITOR) if cluster else None
    with ExitStack() as stack:
        aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qpubus-audit-")))
        with ThreadPoolExecutor(1) as apart:  # the caller's own loop runs already
            apart.submit(asyncio.run, _copy(options, aside, all_sites=all_sites)).result()
        log = EmbeddedReader(directory, files=aside)
        stack.callback(log.close_now)
        yield log


async def _copy(access: Access | None, directory: Path, *, all_sites: bool) -> None:
    if access is None:
        raise Problem("nothing says how the log is reached")
    log = await KafkaReader.open(access.aiokafka())
    try:
        names = {name for partition in range(log.partitions) for name in await sites_of(log, partition)}
        if len(names) > 1 and not all_sites:
            raise shared(names, "Name the root key of each with --root, once for each site.")
        log_id = sha256(access.bootstrap.encode()).hexdigest()[:32]
        with new_log(directory, Settings(log_id, log.partitions, log.topics)) as new:
            await Copying(log, new, directory).run()
    finally:
        await log.close()
