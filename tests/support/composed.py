"""The services of the compose file as plain processes: each sees what is mounted for its container and nothing else."""

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.commands import QPUBUS, ROOT, environment

COMPOSE = ROOT / "compose"
SECRETS = "/run/secrets"


class Composed:
    """Services of a site on a broker on this machine. Roots of their containers lie in `directory`."""

    def __init__(self, site: Path, kafka: Path, directory: Path, more: dict[str, str] | None = None) -> None:
        """`kafka` is the broker's directory; `more` are values of further variables of the file."""
        self._services: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
        self._values = {"QPUBUS_SITE": str(site), "QPUBUS_KAFKA": str(kafka), **(more or {})}
        self._access = kafka / "access"
        self._directory = directory

    def home(self, name: str) -> Path:
        """What a party has for its data directory."""
        return self._directory / name / "site"

    def start(self, name: str) -> subprocess.Popen[str]:
        """Run the command of a service."""
        service = self._services[name]
        root = self._directory / name
        for mount in service["volumes"]:
            source, _, inside = self._valued(mount).removesuffix(":ro").rpartition(":")
            self._mount(COMPOSE / source, root / inside.lstrip("/"))
        for secret in service["secrets"]:
            self._mount(self._access / secret, root / SECRETS.lstrip("/") / secret)
        words = [self._inside(root, str(word)) for word in service["command"]]
        said = {key: self._inside(root, self._valued(value)) for key, value in service.get("environment", {}).items()}
        return subprocess.Popen(
            [*QPUBUS, *words],
            env={**environment(), "XDG_STATE_HOME": str(root / "state"), **said},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=root,
        )

    def _mount(self, source: Path, inside: Path) -> None:
        """A file is copied; a folder is shared, once what lies beneath it in the container is not in its way."""
        inside.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copy(source, inside)
        else:
            source.mkdir(parents=True, exist_ok=True)
            inside.symlink_to(source)

    def _valued(self, text: str) -> str:
        for name, value in self._values.items():
            begin = text.find(f"${{{name}")
            if begin >= 0:
                text = text[:begin] + value + text[text.index("}", begin) + 1 :]
        begin = text.find(":-")
        return text if begin < 0 else text[: text.rindex("${", 0, begin)] + text[begin + 2 :].replace("}", "", 1)

    def _inside(self, root: Path, word: str) -> str:
        if word.startswith("/"):
            return str(root / word.lstrip("/"))
        return f"127.0.0.1:{_free_port()}" if word.startswith("0.0.0.0:") else word


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
