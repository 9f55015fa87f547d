"""Two sites behind doors of their own, and an agent whose key is enrolled at both: neither takes the other's."""

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qpubus.founding import Member, enrolment
from schemas.topics import Role
from tests.support.town import SITE
from tests.support.web_house import copy_of, govern_now, open_house, site_with_agents
from tests.web.conftest import Founded

OTHER_SITE, BOTH = "site-b", "agent:both"


async def test_nothing_of_one_site_counts_or_is_read_at_another(
    founded: Founded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    here, there = copy_of(founded[0], tmp_path / "here"), tmp_path / "there"
    keys = dict(founded[1])
    other_keys = await asyncio.to_thread(site_with_agents, there, (), OTHER_SITE)
    keys[BOTH] = other_keys[BOTH] = Ed25519PrivateKey.generate()
    enrolled = enrolment(Member(BOTH, Role.AGENT, ""), keys[BOTH], "file")
    for directory in (here, there):
        await asyncio.to_thread(govern_now, directory, [enrolled])
    async with open_house(here, keys) as home, open_house(there, other_keys) as abroad:
        assert (home.desk.site, abroad.desk.site) == (SITE, OTHER_SITE)
        assert (await home.declare(BOTH)).status_code == 201
        stored = (await home.ask("POST", "/v1/artifacts", BOTH, content=b"ours")).json()["digest"]
        token = {"authorization": f"Bearer {await home.token(BOTH)}"}
        assert (await abroad.client.get("/v1/jobs", headers=token)).status_code == 401
        assert (await abroad.ask_token(home.assertion(BOTH))).status_code == 401
        for path in ("/v1/jobs/bell-1", "/v1/jobs/bell-1/result", f"/v1/artifacts/{stored}", "/v1/approvals/bell-1"):
            assert (await abroad.ask("GET", path, BOTH)).status_code == 404, path
        carried_over = await abroad.ask("POST", "/v1/jobs", BOTH, json=home.declaration(BOTH))
        assert (carried_over.status_code, carried_over.json()["code"]) == (422, "site_unknown")
        told = await abroad.ask("GET", "/v1/events", BOTH, params={"follow": "false", "job": "bell-1"})
        assert "data:" not in told.text
