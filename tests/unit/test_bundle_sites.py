"""Two sites share a partition number: a bundle of the one tells of the other's governance no more than it must."""

import asyncio
import base64
import csv
import io
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest

from agents.clock import VirtualClock
from agents.devices.profiles import PROFILES, device_price
from agents.party import Membership
from agents.sealer import Sealer
from qpubus.founding import default_policy, found_site, members
from qpubus.keyfile import write_key
from replay import standalone
from replay.bundle import bundle
from schemas.admission import ROOT_SOURCE
from schemas.envelope import Record, Stray, headers_of, raw_preimage, why_stray
from schemas.keys import raw_public_key
from streams.log.embedded import EmbeddedLog
from streams.log.reading import open_copy
from tests.support.bundled import HOME, changed, sealed
from tests.support.commands import qpubus
from tests.support.golden_log import FREE, golden_logs, restore
from tests.support.records import record
from tests.support.signed import private_key

LATER_US = 1_800_000_000_000_000
NEIGHBOUR = "site-b"
PEOPLE = members(tuple(PROFILES), "agent:b", "approver:b")
KEYS = {source: private_key(f"b/{source}") for source in (ROOT_SOURCE, *(each.source for each in PEOPLE))}
OTHERS = {NEIGHBOUR: raw_public_key(KEYS[ROOT_SOURCE])}


def two_sites(directory: Path) -> Path:
    """A log on which a second site was founded later than the first."""

    async def founded() -> None:
        log = EmbeddedLog(directory, lambda: LATER_US)
        try:
            await found_site(
                log,
                NEIGHBOUR,
                keys=KEYS,
                people=PEOPLE,
                prices=[device_price(profile) for profile in PROFILES.values()],
                policy=default_policy(tuple(PROFILES)),
                budget_microusd=1,
                clock="virtual",
                now_us=LATER_US,
                seed=1,
            )
            await log.append([Stray("governance", NEIGHBOUR.encode(), b"junk", (("x", b"1"),))])
            member = Membership("sealer:main", HOME[0], private_key("sealer:main"), HOME[1])
            await Sealer(member, log, VirtualClock(LATER_US), OTHERS).finish()
        finally:
            await log.close()

    restore(golden_logs()[0], directory)
    asyncio.run(founded())
    return directory


@cache
def shared() -> bytes:
    """The bundle of a job of the first site."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", f"{name}/state")
        with open_copy(two_sites(Path(name) / "data")) as copy:
            return asyncio.run(bundle(copy, HOME, FREE, private_key("auditor:main"), others=OTHERS))


def verified(data: bytes) -> standalone.Report:
    return standalone.verify(data, HOME[1])


def neighbours(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in said["records"] if "preimage" in each]


def test_it_is_sound_and_all_of_governance_is_proven() -> None:
    report = verified(shared())
    assert (report.verdict, report.findings, report.proven) == (standalone.SOUND, [], report.records)
    assert len(neighbours(orjson.loads(shared()))) > 50


def test_what_the_neighbour_said_is_not_in_it() -> None:
    data = b"".join(base64.b64decode(each["preimage"]) for each in neighbours(orjson.loads(shared()))[:-1])
    for key in KEYS.values():
        raw = raw_public_key(key)
        assert base64.b64encode(raw).strip(b"=")[3:-3] not in shared()
        assert raw not in data


def test_a_neighbours_record_that_is_left_out_is_missed() -> None:
    report = verified(changed(shared(), lambda said: said["records"].remove(neighbours(said)[3])))
    assert (report.verdict, {each.reason for each in report.findings}) == (
        standalone.INCOMPLETE,
        {"governance_incomplete"},
    )


def test_a_neighbours_record_that_is_another_leads_to_no_root() -> None:
    def other(said: dict[str, Any]) -> None:
        one, another = neighbours(said)[3:5]
        one["preimage"] = another["preimage"]

    report = verified(changed(shared(), other))
    assert (report.verdict, report.findings[0].reason) == (standalone.TAMPERED, "proof_broken")


@pytest.mark.parametrize("form", ["statement", "as received"])
def test_a_record_of_the_site_itself_cannot_be_withheld(form: str) -> None:
    """Who would hide a revocation could do it so."""
    said = orjson.loads(shared())
    own = next(each for each in said["records"] if each.get("record", {}).get("type") == "qpubus.BudgetSet")
    texts = own.pop("record")
    value, seal = base64.b64decode(texts.pop("value")), base64.b64decode(texts.pop("seal"))
    if form == "statement":
        named = {"topic": "governance", "schema": "0" * 64, "version": "1", "body": sha256(value[5:]).hexdigest()}
        preimage = b"\0" + standalone.canonical(texts | named)
    else:
        preimage = raw_preimage(Record(topic="governance", value=value, seal=seal, **texts))
    own["preimage"] = base64.b64encode(preimage).decode()
    report = verified(sealed(said))
    assert (report.verdict, report.findings[0].reason) == (standalone.TAMPERED, "record_withheld")


WHOLE = headers_of(record("governance"))
STRAYS: dict[str, Stray] = {
    "no value": Stray("governance", b"site-a", None, WHOLE),
    "no key": Stray("governance", None, b"v", WHOLE),
    "no text for a key": Stray("governance", b"\xff", b"v", WHOLE),
    "a header less": Stray("governance", b"site-a", b"v", WHOLE[1:]),
    "a header more": Stray("governance", b"site-a", b"v", (*WHOLE, ("x", b""))),
    "a header twice": Stray("governance", b"site-a", b"v", (*WHOLE, WHOLE[3])),
    "another order": Stray("governance", b"site-a", b"v", WHOLE[::-1]),
    "another version": Stray("governance", b"site-a", b"v", (("ce_specversion", b"2.0"), *WHOLE[1:])),
    "no text in a header": Stray("governance", b"site-a", b"v", (*WHOLE[:4], (WHOLE[4][0], b'"'), *WHOLE[5:])),
    "a name that is no text": Stray("governance", b"site-a", b"v", (*WHOLE, ("caf\udce9", b""))),
}


@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
def test_a_record_in_no_form_is_refused_for_the_reason_that_readers_give(stray: Stray) -> None:
    with pytest.raises(standalone.Wrong) as caught:
        standalone.Other("governance", 0, "", raw_preimage(stray)).judge("site-a")
    assert caught.value.reason == why_stray(stray).reason


@pytest.mark.parametrize("preimage", [b"", b"\0", b"\0[]", b"\1", b"\1" + bytes(8) * 4, b"\2" + bytes(24)])
def test_what_is_no_pre_image_is_a_record_withheld(preimage: bytes) -> None:
    with pytest.raises(standalone.Wrong) as caught:
        standalone.Other("governance", 0, "", preimage).judge("site-a")
    assert caught.value.reason == "record_withheld"


def test_the_commands_of_auditors_read_a_shared_log_by_the_root_key_of_each_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    named = ("--data", two_sites(tmp_path / "data"), "--root", HOME[1].hex(), "--root", OTHERS[NEIGHBOUR].hex())
    write_key(tmp_path / "auditor.pem", private_key("auditor:main"))
    signed = ("--key", tmp_path / "auditor.pem")

    assert qpubus("audit", "bundle", FREE, "-o", tmp_path / "b", *signed, *named).code == 0
    assert (tmp_path / "b").read_bytes() == shared()
    assert qpubus("audit", "bundle", "nobody", "-o", tmp_path / "c", *signed, *named).code == 1
    explained = qpubus("audit", "explain", FREE, "--json", *named).json
    assert (explained["site"], explained["holds"]) == (HOME[0], True)
    statement = qpubus("audit", "export", "--format", "intoto", "--job", FREE, *signed, *named)
    assert (statement.code, statement.err) == (0, "")
    report = qpubus("audit", "report", "--from", "2020-01-01", "--to", "2050-01-01", *named)
    told = {(row["kind"], row["site"]) for row in csv.DictReader(io.StringIO(report.out))}
    assert {("run_without_human", HOME[0]), ("record_not_believed", NEIGHBOUR)} <= told
