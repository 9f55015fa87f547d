"""Where things lie in a data directory."""

import os
from dataclasses import dataclass
from pathlib import Path

from qpubus.problem import Problem
from streams.disk import read_small
from streams.log.head import RootMemory
from streams.log.reading import DATABASE

VAULT = "QPUBUS_VAULT"
"""Names the directory of the vault where that is not in the data directory: on a medium with a backup of its own."""
_ROOT_BYTES_MAX = 1 << 10


@dataclass(frozen=True, slots=True)
class Place:
    """A data directory, by the names of what is in it."""

    directory: Path

    @property
    def cluster(self) -> Path:
        """Says how the log is reached, where it is on Kafka."""
        return self.directory / "kafka.toml"

    @property
    def has_log(self) -> bool:
        """Whether a site was founded here: its log is here, or it is said where it is."""
        return (self.directory / DATABASE).exists() or self.cluster.exists()

    @property
    def root_public_key(self) -> Path:
        """The trust anchor, in hex."""
        return self.directory / "root.pub"

    def read_root_public_key(self) -> bytes:
        """The trust anchor; `Problem` if it is not there, or not the one that this account remembers."""
        try:
            content = read_small(self.root_public_key, _ROOT_BYTES_MAX, doubted=True)
            root_public_key = bytes.fromhex(content.decode().strip())
        except FileNotFoundError:
            if self.has_log:
                raise Problem(
                    f"{self.root_public_key} is missing, and all is verified by it", "Restore it from a copy."
                ) from None
            raise Problem(
                f"there is no site in {self.directory}", f"Found one: qpubus init --data {self.directory}"
            ) from None
        except (OSError, ValueError):
            raise Problem(
                f"{self.root_public_key} does not hold the root public key", "Restore it: all is verified by it."
            ) from None
        if doubt := RootMemory(self.directory).doubt(root_public_key):
            raise Problem(doubt, code="root_replaced")
        return root_public_key

    @property
    def founding(self) -> Path:
        """Is there while a site is being founded, and after a founding that was broken off."""
        return self.directory / "founding"

    @property
    def keys(self) -> Path:
        """The private keys of those who work on this machine."""
        return self.directory / "keys"

    @property
    def devices(self) -> Path:
        """The ledgers of the emulated devices; they are the devices' own and no part of the log."""
        return self.directory / "devices"

    @property
    def states(self) -> Path:
        """Saved states of stages; a convenience."""
        return self.directory / "states"

    @property
    def told(self) -> Path:
        """The ids of what people were told, so that they are told once."""
        return self.directory / "told.txt"

    @property
    def artifacts(self) -> Path:
        """The artefact store."""
        return self.directory / "artifacts"

    @property
    def vault(self) -> Path:
        """The erasable texts; no part of the log."""
        return Path(os.environ.get(VAULT) or self.directory / "vault")

    @property
    def views(self) -> Path:
        """Saved views; a convenience."""
        return self.directory / "views"

    def key(self, name: str) -> Path:
        """A private key of a member who works on this machine."""
        return self.directory / "keys" / f"{name}.pem"
