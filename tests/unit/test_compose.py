"""The compose files: sound by the specification, and of one mind with our commands and our table of principals."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import yaml

from qpubus.cli import load
from qpubus.hosting import NAMES
from qpubus.kafka import acls
from qpubus.kafka.broker import Broker
from qpubus.kafka.container import CLUSTER, PARTIES, SERVICES, WORKERS, Container
from qpubus.kafka.settings import OPERATOR
from qpubus.wiring import PARTIES as PARTIES_ALONE

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
FILES = ("compose.yaml", "production.yaml")
SCHEMA = ROOT / "tests" / "support" / "compose_spec" / "compose-spec.json"


# Compose's own tag says how files are put together; the value behind it is plain.
yaml.SafeLoader.add_constructor("!override", lambda loader, node: loader.construct_mapping(node, deep=True))


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((COMPOSE / name).read_text()))


def bus() -> dict[str, Any]:
    services = read("compose.yaml")["services"]
    return {name: service for name, service in services.items() if service["image"] == "qpubus:local"}


@pytest.fixture
def written(tmp_path: Path) -> Broker:
    """The files that compose mounts."""
    broker = Broker(tmp_path / "kafka")
    broker.write_container_files(port=0)
    return broker


@pytest.mark.parametrize("name", FILES)
def test_a_compose_file_is_one_by_the_specification(name: str) -> None:
    jsonschema.Draft202012Validator(orjson.loads(SCHEMA.read_bytes())).validate(read(name))


def test_a_compose_file_that_is_none_would_be_seen() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(orjson.loads(SCHEMA.read_bytes())).validate(
            {"services": {"kafka": {"imag": 1}}}
        )


@pytest.mark.parametrize("names", [FILES[:1], FILES])
def test_docker_itself_accepts_the_compose_files(names: tuple[str, ...], written: Broker) -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no docker compose here; the specification's schema has judged instead")
    files = [word for name in names for word in ("--file", str(COMPOSE / name))]
    environment = ["--env-file", str(written.directory / "container" / "compose.env")]
    done = subprocess.run(
        ["docker", "compose", *files, *environment, "--profile", "bus", "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(bus()))
def test_a_service_runs_a_command_that_is_there(name: str) -> None:
    command, *rest = bus()[name]["command"]
    load(command).make_context(command, rest)


def test_hosts_for_notices_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    [variable] = bus()["callbacks"]["environment"]
    monkeypatch.setenv(variable, "agents.example other.example:8443")
    command, *rest = bus()["callbacks"]["command"]
    parsed = load(command).make_context(command, rest).params
    assert list(parsed["callback_host"]) == ["agents.example", "other.example:8443"]


@pytest.mark.parametrize("name", sorted(bus()))
def test_a_service_has_the_access_and_the_key_of_its_own_principal_and_no_other(name: str) -> None:
    service = bus()[name]
    principal = "device" if name.startswith("device-") else name
    keys = [mount for mount in service["volumes"] if "/keys" in mount]
    assert principal in acls.PRINCIPALS
    views = [f"{acls.VIEWS}.properties"] if name == "gateway" else []
    assert service["secrets"] == [f"{principal}.properties", *views, "ca.pem"]
    assert keys == ([] if name == acls.VIEWS else [f"${{QPUBUS_SITE:-.}}/keys/{name}.pem:/site/keys/{name}.pem:ro"])


def test_no_service_is_root_or_gains_rights_or_is_open_to_the_world() -> None:
    for name, service in read("compose.yaml")["services"].items():
        assert service["user"] not in {"0", "root", "0:0"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_every_file_that_is_mounted_is_written(written: Broker) -> None:
    sources = [secret["file"] for name in FILES for secret in read(name)["secrets"].values()]
    sources += [
        mount.split(":/")[0]
        for name in FILES
        for service in read(name)["services"].values()
        for mount in service.get("volumes", ())
        if mount.startswith("${QPUBUS_KAFKA")
    ]
    lying = [source.partition("}")[2] for source in sources]
    assert len(lying) > 20
    assert [path for path in lying if not (written.directory / path.lstrip("/")).exists()] == []


def test_what_is_mounted_is_for_its_owner_alone(written: Broker) -> None:
    files = [path for path in (written.directory / "container").iterdir() if path.name != "compose.env"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (written.directory, written.directory / "data")} == {0o700}


def test_services_reach_the_broker_by_its_name_and_this_machine_by_a_port(written: Broker) -> None:
    inside = (written.directory / "container" / "policy.properties").read_text()
    settings = (written.directory / "container" / "kafka.server.properties").read_text()
    assert "bootstrap.servers=kafka:9092\n" in inside
    assert "ssl.ca.location=ca.pem\n" in inside
    assert f"OUTSIDE://{written.access(OPERATOR).bootstrap}" in settings


def test_production_has_three_nodes_that_know_one_another_and_keep_three_copies(written: Broker) -> None:
    files = [written.directory / "container" / f"{host}.server.properties" for host in CLUSTER]
    nodes = [dict(line.split("=", 1) for line in path.read_text().splitlines()) for path in files]
    assert [node["node.id"] for node in nodes] == ["1", "2", "3"]
    assert {node["controller.quorum.voters"] for node in nodes} == {"1@kafka-1:9093,2@kafka-2:9093,3@kafka-3:9093"}
    assert {(node["offsets.topic.replication.factor"], node["min.insync.replicas"]) for node in nodes} == {("3", "2")}
    assert set(read("production.yaml")["services"]) == {"kafka", *CLUSTER, *SERVICES}


def test_prometheus_reads_the_services_that_have_pages() -> None:
    targets = yaml.safe_load((COMPOSE / "prometheus.yaml").read_text())["scrape_configs"][0]["static_configs"][0][
        "targets"
    ]
    assert sorted(targets) == [f"{name}:6066" for name in sorted(WORKERS)]


def test_all_that_a_bus_consists_of_has_a_service() -> None:
    assert set(bus()) == set(SERVICES)
    assert {bus()[name]["command"][1] for name in WORKERS} == {*NAMES}
    assert {bus()[name]["command"][2] for name in PARTIES} == {*PARTIES_ALONE}


@pytest.mark.parametrize("name", sorted(bus()))
def test_every_path_that_a_service_names_is_mounted_for_it(name: str) -> None:
    service = bus()[name]
    mounted = {mount.split(":/")[1].removesuffix(":ro") for mount in service["volumes"]}
    inside = {f"/{path}" for path in mounted} | {"/run/secrets"}
    named = [word for word in service["command"] if word.startswith("/")]
    named += [path for path in service.get("environment", {}).values() if path.startswith("/")]
    assert named
    assert [path for path in named if not _lies_in(path, inside)] == []


def _lies_in(path: str, mounted: set[str]) -> bool:
    """Itself mounted, in something that is, or the folder of something that is."""
    return any(path == each or path.startswith(f"{each}/") or each.startswith(f"{path}/") for each in mounted)


@pytest.mark.parametrize("name", sorted(bus()))
def test_a_service_may_write_what_it_keeps_and_nothing_else(name: str) -> None:
    writable = {mount.split(":/")[0] for mount in bus()[name]["volumes"] if not mount.endswith(":ro")}
    kept = f"${{QPUBUS_KAFKA}}/states/{name}"
    shares = {"gateway", "sandbox"} | {each for each in PARTIES if each.startswith("device-")}
    assert writable == ({kept, "${QPUBUS_KAFKA}/artifacts"} if name in shares else {kept})


def test_what_the_repository_mounts_is_there() -> None:
    own = [
        mount.split(":/")[0]
        for name in FILES
        for service in read(name)["services"].values()
        for mount in service.get("volumes", ())
        if mount.startswith("./")
    ]
    defaults = re.findall(r"\$\{QPUBUS_WITNESSES:-(\S+?)\}", (COMPOSE / "compose.yaml").read_text())
    assert defaults
    assert [path for path in (*own, *defaults) if not (COMPOSE / path).is_file()] == []


def test_prometheus_itself_accepts_its_configuration() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool here: apt-get install prometheus")
    done = subprocess.run(
        ["promtool", "check", "config", COMPOSE / "prometheus.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_has_what_is_locked_and_nobody_in_it_is_root() -> None:
    lines = (COMPOSE / "Dockerfile").read_text().splitlines()
    copied = {line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert set(packages) <= copied
    assert all((ROOT / name).exists() for name in copied)
    assert [
        line for line in lines if "pip install" in line and "--require-hashes" not in line and "--no-index" not in line
    ] == []
    assert [line for line in lines if line.startswith(("USER", "ENTRYPOINT"))] == [
        "USER 10001",
        'ENTRYPOINT ["qpubus"]',
    ]


def test_the_container_is_asked_for_by_the_compose_file_and_quoted_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Broker
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho "no such image" >&2\nexit 1\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(Exception, match="the container engine did not start kafka: no such image"):
        Container(written.directory).start()
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith(f"compose --file {COMPOSE / 'compose.yaml'} --env-file {written.directory}")
