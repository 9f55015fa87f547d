"""The servers' files: fetched by Maven, held to their sums, and what is said where something is missing."""

import hashlib
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from qpubus.kafka import packages
from qpubus.problem import Problem

CONTENT = b"what was committed to"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, sums that want one file, and a path with nothing on it."""
    compose = tmp_path / "compose"
    compose.mkdir()
    (compose / "SHA256SUMS").write_text(f"{hashlib.sha256(CONTENT).hexdigest()}  kafka/server.jar\n")
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(packages, "COMPOSE", compose)
    monkeypatch.setenv(packages.CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def command(place: Path, name: str, script: str) -> None:
    path = place / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def maven_brings(place: Path, content: bytes) -> None:
    (place / "brought").write_bytes(content)
    copies = 'for word in "$@"; do case "$word" in -DoutputDirectory=*) into="${word#*=}";; esac; done'
    command(place, "mvn", f'{copies}\n{shutil.which("cp", path="/bin:/usr/bin")} {place}/brought "$into/server.jar"')


def test_what_maven_brings_is_kept_and_not_fetched_again(place: Path) -> None:
    maven_brings(place, CONTENT)
    directory = packages.kafka_libraries()
    (place / "bin" / "mvn").unlink()
    assert packages.kafka_libraries() == directory
    assert (directory / "server.jar").read_bytes() == CONTENT


def test_a_file_that_is_not_the_one_committed_to_is_not_kept(place: Path) -> None:
    maven_brings(place, CONTENT + b"!")
    with pytest.raises(Problem, match=r"server\.jar is not the file that compose/SHA256SUMS commits to"):
        packages.kafka_libraries()
    assert list((place / "cache").iterdir()) == []


def test_a_file_that_was_changed_in_the_cache_is_not_run(place: Path) -> None:
    maven_brings(place, CONTENT)
    (packages.kafka_libraries() / "server.jar").write_bytes(b"changed")
    with pytest.raises(Problem, match="it is not run"):
        packages.kafka_libraries()


def test_a_file_that_nobody_committed_to_is_seen(place: Path) -> None:
    maven_brings(place, CONTENT)
    (packages.kafka_libraries() / "more.jar").write_bytes(CONTENT)
    with pytest.raises(Problem, match=r"does not hold the files of compose/SHA256SUMS: more\.jar"):
        packages.kafka_libraries()


@pytest.mark.usefixtures("place")
def test_where_maven_is_missing_it_is_said_what_installs_it() -> None:
    with pytest.raises(Problem, match="no `mvn` on the path") as caught:
        packages.kafka_libraries()
    assert "apt-get install maven" in caught.value.next_step
    assert caught.value.code == packages.NOT_INSTALLED


@pytest.mark.usefixtures("place")
def test_where_java_is_missing_it_is_said_what_installs_it() -> None:
    with pytest.raises(Problem, match="no `java` on the path") as caught:
        packages.java()
    assert "apt-get install openjdk-17-jre-headless" in caught.value.next_step
    assert caught.value.code == packages.NOT_INSTALLED


@pytest.mark.parametrize(
    ("told", "is_enough"), [("17.0.15", True), ("21", True), ("11.0.2", False), ("1.8.0_402", False)]
)
def test_java_must_be_new_enough(place: Path, told: str, is_enough: bool) -> None:
    command(place, "java", f"echo 'openjdk version \"{told}\" 2025-04-15' >&2")
    if is_enough:
        assert packages.java() == str(place / "bin" / "java")
    else:
        with pytest.raises(Problem, match="Kafka needs Java 17 or newer"):
            packages.java()


def test_what_maven_says_of_a_failure_is_told(place: Path) -> None:
    command(place, "mvn", "echo '[ERROR] Could not transfer artifact'; exit 1")
    with pytest.raises(Problem, match="Could not transfer artifact"):
        packages.kafka_libraries()


def test_the_pom_pins_what_the_sums_name_and_names_no_address() -> None:
    compose = Path(__file__).parents[2] / "compose"
    text = (compose / "pom.xml").read_text()
    named = ET.fromstring(text).find("{*}properties")  # noqa: S314 (our own file)
    assert named is not None
    versions = {each.tag.rpartition("}")[2]: each.text for each in named}
    sums = (compose / "SHA256SUMS").read_text()
    assert f"  kafka/kafka_2.13-{versions['kafka.version']}.jar\n" in sums
    assert f"  registry/apicurio-registry-app-{versions['registry.version']}-all.tar.gz\n" in sums
    assert "<repositor" not in text
    assert "://" not in sums
