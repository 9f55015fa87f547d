"""The AsyncAPI document, judged by the official parser."""

import re
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from qpubus.cli import app
from schemas.asyncapi import asyncapi_document
from schemas.avro_text import avro_text
from schemas.topics import WRITERS, Role
from schemas.words import Event, wire_name
from tests.support.node import FOLDER, Judges, judges


@pytest.fixture(scope="module")
def node() -> Judges:
    return judges()


def judged(node: Judges, document: object) -> dict[str, list[object]]:
    done = node.run("asyncapi.mjs", given=orjson.dumps(document).decode())
    assert done.returncode == 0, done.stderr
    told: dict[str, list[object]] = orjson.loads(done.stdout)
    return told


def test_the_official_parser_has_nothing_to_say_against_the_document(node: Judges) -> None:
    told = judged(node, asyncapi_document("1.2.3"))
    assert told["diagnostics"] == []
    assert sorted(map(str, told["messages"])) == sorted(Event.types)


def test_the_official_parser_sees_a_broken_avro_schema(node: Judges) -> None:
    document = asyncapi_document("1.2.3")
    document["components"]["messages"]["JobCompleted"]["payload"]["schema"]["type"] = "reckord"
    assert judged(node, document)["diagnostics"] != []


def test_every_role_that_may_write_a_topic_has_its_operation() -> None:
    document = asyncapi_document("1.2.3")
    for topic, types in WRITERS.items():
        for role in Role:
            may = {each.__name__ for each, roles in types.items() if role in roles}
            operation = document["operations"].get(f"{topic}.send.{role.value}", {"messages": []})
            assert {each["$ref"].rpartition("/")[2] for each in operation["messages"]} == may


def test_payloads_are_the_schemas_that_are_signed() -> None:
    document = asyncapi_document("1.2.3")
    for event_type in Event.types.values():
        payload = document["components"]["messages"][event_type.__name__]["payload"]["schema"]
        assert orjson.dumps(payload) == orjson.dumps(orjson.loads(avro_text(event_type))), wire_name(event_type)


def test_a_user_finds_the_document_under_schemas() -> None:
    told = CliRunner().invoke(app, ["schemas", "asyncapi"])
    assert told.exit_code == 0
    assert set(orjson.loads(told.stdout)["channels"]) == set(WRITERS)


def test_a_user_is_told_which_events_there_are() -> None:
    told = CliRunner().invoke(app, ["schemas", "avro", "JobVanished"])
    assert told.exit_code == 1
    assert "JobCompleted" in told.output


def test_the_lock_of_the_judges_holds_hashes_and_no_registry() -> None:
    lock = orjson.loads(Path(FOLDER, "package-lock.json").read_bytes())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if not re.match("sha512-", entry.get("integrity", ""))] == []
