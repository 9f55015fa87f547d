"""Documents over HTTP: whole, in ranges and in parts."""

import asyncio

from qpubus.web.uploads import Uploads
from schemas.digests import sha256_hex
from tests.support.town import AGENT, STRANGER
from tests.support.web_house import House

TEXT = b"<script>0123456789</script>"


async def stored(house: House, source: str = AGENT) -> str:
    answer = await house.ask("POST", "/v1/artifacts", source, content=TEXT, headers={"content-type": "text/html"})
    assert answer.status_code == 201
    assert answer.json() == {"digest": sha256_hex(TEXT), "size_bytes": len(TEXT)}
    return f"/v1/artifacts/{answer.json()['digest']}"


async def test_a_document_comes_back_as_it_was_and_no_browser_runs_it(house: House) -> None:
    answer = await house.ask("GET", await stored(house))
    assert answer.content == TEXT
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_two_agents_that_store_the_same_may_both_read_it(house: House) -> None:
    path = await stored(house)
    assert (await house.ask("GET", path, STRANGER)).status_code == 404
    await stored(house, STRANGER)
    assert (await house.ask("GET", path, STRANGER)).status_code == 200


async def test_no_job_takes_in_what_is_anothers(house: House) -> None:
    await stored(house)
    taken = await house.declare(STRANGER, artifacts={"theirs.html": sha256_hex(TEXT)})
    assert [each["code"] for each in taken.json()["problems"]] == ["artifact_missing"]
    absent = await house.declare(STRANGER, artifacts={"theirs.html": sha256_hex(b"nobody's")})
    assert taken.json()["detail"] == absent.json()["detail"].replace(sha256_hex(b"nobody's"), sha256_hex(TEXT))
    await stored(house, STRANGER)
    assert (await house.declare(STRANGER, artifacts={"theirs.html": sha256_hex(TEXT)})).status_code == 201


async def test_a_range_of_a_document(house: House) -> None:
    path = await stored(house)
    asked = {"bytes=0-3": TEXT[:4], "bytes=8-": TEXT[8:], "bytes=-5": TEXT[-5:], "bytes=3-999": TEXT[3:]}
    for range_, content in asked.items():
        answer = await house.ask("GET", path, headers={"range": range_})
        assert (answer.status_code, answer.content) == (206, content), range_
    assert (await house.ask("GET", path, headers={"range": "bytes=999-"})).status_code == 416
    assert (await house.ask("GET", path, headers={"range": "bytes=5-1"})).status_code == 416
    assert (await house.ask("GET", path, headers={"range": "bytes=0-1", "if-range": '"other"'})).status_code == 200


async def test_an_upload_in_parts_goes_on_where_it_stood(house: House) -> None:
    asked = {"digest": sha256_hex(TEXT), "size_bytes": len(TEXT)}
    begun = (await house.ask("POST", "/v1/uploads", json=asked)).json()
    path = f"/v1/uploads/{begun['upload_id']}"
    await house.ask("PATCH", path, content=TEXT[:9], headers={"upload-offset": "0"})
    wrong = await house.ask("PATCH", path, content=TEXT[:9], headers={"upload-offset": "0"})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "upload_conflict")
    assert (await house.ask("POST", "/v1/uploads", json=asked)).json()["offset"] == 9
    done = (await house.ask("PATCH", path, content=TEXT[9:], headers={"upload-offset": "9"})).json()
    assert done["is_complete"]
    assert (await house.ask("GET", f"/v1/artifacts/{asked['digest']}")).content == TEXT


async def test_parts_that_make_another_document_are_dropped(house: House) -> None:
    asked = {"digest": sha256_hex(TEXT), "size_bytes": 3}
    path = f"/v1/uploads/{(await house.ask('POST', '/v1/uploads', json=asked)).json()['upload_id']}"
    answer = await house.ask("PATCH", path, content=b"abc", headers={"upload-offset": "0"})
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert (await house.ask("GET", path)).status_code == 404


async def test_a_part_that_comes_twice_at_once_is_taken_once(house: House) -> None:
    asked = {"digest": sha256_hex(TEXT), "size_bytes": len(TEXT)}
    path = f"/v1/uploads/{(await house.ask('POST', '/v1/uploads', json=asked)).json()['upload_id']}"
    start = {"upload-offset": "0"}
    answers = await asyncio.gather(*(house.ask("PATCH", path, content=TEXT[:9], headers=start) for _ in range(8)))
    assert sorted(each.status_code for each in answers) == [200] + 7 * [409]
    done = await house.ask("PATCH", path, content=TEXT[9:], headers={"upload-offset": "9"})
    assert done.json()["is_complete"]


async def test_an_upload_whose_last_part_came_before_a_stop_is_stored_when_it_is_begun_again(house: House) -> None:
    digest = sha256_hex(TEXT)
    uploads = Uploads(house.machine.place.directory / "uploads")
    uploads.add(uploads.begin(AGENT, digest, len(TEXT), "application/octet-stream"), 0, TEXT)
    assert (await house.ask("POST", "/v1/uploads", json={"digest": digest, "size_bytes": len(TEXT)})).json()[
        "is_complete"
    ]
    assert (await house.ask("GET", f"/v1/artifacts/{digest}")).content == TEXT
