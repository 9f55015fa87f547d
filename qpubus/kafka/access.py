"""How one principal reaches the broker: addresses, name, password and CA, in one file that only its owner can read."""

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpubus.problem import Problem

MECHANISM = "SCRAM-SHA-512"
PROTOCOL = "SASL_SSL"
SCRAM_ITERATIONS = 4_096
"""As many as Kafka's own tools take. The passwords are 256 random bits, which no number of iterations guards better."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a client of the broker needs. Its file is in the words of librdkafka, so `kcat -F FILE` reads it too."""

    bootstrap: str
    principal: str
    password: str = field(repr=False)
    ca: Path

    @classmethod
    def read(cls, path: Path) -> "Access":
        """The access in a file; `Problem` says why it cannot be used."""
        try:
            if path.stat().st_mode & 0o077:
                raise Problem(f"{path} holds a password and can be read by others", f"Run: chmod 600 {path}")
            settings = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
            return cls(
                settings["bootstrap.servers"],
                settings["sasl.username"],
                settings["sasl.password"],
                path.parent / settings["ssl.ca.location"],
            )
        except KeyError as error:
            raise Problem(f"{path} does not say {error.args[0]}", "Write it as `qpubus kafka start` does.") from None
        except OSError as error:
            raise Problem(f"{path}: {error.strerror}", "Name the file of a principal of this broker.") from None

    def write(self, path: Path) -> None:
        """Write the file, mode 0600 from its first byte."""
        text = "".join(f"{key}={value}\n" for key, value in self.librdkafka().items())
        write_private(path, text.encode())

    def librdkafka(self) -> dict[str, str]:
        """The settings of confluent-kafka, kcat and other clients of librdkafka."""
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": PROTOCOL,
            "sasl.mechanism": MECHANISM,
            "sasl.username": self.principal,
            "sasl.password": self.password,
            "ssl.ca.location": str(self.ca),
        }

    def aiokafka(self) -> dict[str, Any]:
        """The arguments of aiokafka's clients."""
        return {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": PROTOCOL,
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": self.principal,
            "sasl_plain_password": self.password,
            "ssl_context": ssl.create_default_context(cafile=self.ca),
        }


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read from its first byte, in the place of one that may be there."""
    aside = path.with_name(f"{path.name}.aside")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
