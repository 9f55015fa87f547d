"""What every engine of the log promises (`streams.log.port.Log`), as tests that take a log from their engine.

An engine's own test module derives from `LogContract` and says in `opened` how to open its log; each test gets a new
log with `PARTITIONS` partitions, and opening it again gives the same one.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from schemas.admission import Stored
from schemas.envelope import Record, Stray
from streams.log.port import Bare, Log, LogError, Place, partition_of
from tests.support.records import record

PARTITIONS = 4
SITE = partition_of(b"site-a", PARTITIONS)


class LogContract:
    """Derive from it, override `opened`, and every engine is held to the same promises."""

    def opened(self, directory: Path) -> AbstractAsyncContextManager[Log]:
        """Open the one log of this test; it is new at the first call and the same one at any other."""
        raise NotImplementedError

    def run(self, promise: Coroutine[Any, Any, None]) -> None:
        """Run a test's body to its end."""
        asyncio.run(asyncio.wait_for(promise, 60))

    def test_a_record_comes_back_byte_for_byte(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                said = record(number=7, size=5_000)
                (place,) = await log.append([said])
                (stored,) = await log.read("intents", SITE, 0, 10)
                assert stored.record == said
                assert Place(stored.topic, stored.partition, stored.offset) == place

        self.run(promise())

    def test_a_record_without_its_proofs_has_place_key_value_and_time(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                said = [record(number=number) for number in range(1, 4)]
                await log.append([said[0], Stray("intents", b"site-a", None, ()), *said[1:]])
                bare = [Bare(at, one.key, one.value, one.time) for at, one in zip((0, 2, 3), said, strict=True)]
                bare.insert(1, Bare(1, "", b"", ""))
                assert await log.read_bare("intents", SITE, 0, 10) == bare
                assert await log.read_bare("intents", SITE, 1, 2) == bare[1:3]
                assert await log.read_bare("intents", SITE, 4, 10) == []

        self.run(promise())

    def test_records_of_one_append_are_neighbours_in_the_order_given(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                await log.append([record(number=1)])
                said = [record(number=number) for number in range(2, 302)]
                places = await log.append(said)
                assert [place.offset for place in places] == list(range(places[0].offset, places[0].offset + 300))
                assert [stored.record for stored in await log.read("intents", SITE, places[0].offset, 1_000)] == said

        self.run(promise())

    def test_places_answer_the_records_of_an_append_over_topics_in_the_order_given(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                said = [
                    record("results", 1),
                    record("intents", 2),
                    record("results", 3),
                    record("intents", 4, "site-b"),
                ]
                for place, one in zip(await log.append(said), said, strict=True):
                    (stored, *_) = await log.read(*place, 1)
                    assert stored.record == one

        self.run(promise())

    def test_offsets_count_from_0(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                (first,) = await log.append([record()])
                assert first == Place("intents", SITE, 0)

        self.run(promise())

    def test_a_read_begins_at_its_offset_and_keeps_its_limit(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                places = await log.append([record(number=number) for number in range(1, 11)])
                stored = await log.read("intents", SITE, places[4].offset, 3)
                assert numbers(stored) == [5, 6, 7]

        self.run(promise())

    def test_a_read_at_the_end_is_empty(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                assert await log.read("intents", SITE, 0, 10) == []
                (place,) = await log.append([record()])
                assert await log.read("intents", SITE, place.offset + 1, 10) == []

        self.run(promise())

    def test_an_append_of_nothing_has_no_places(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                assert await log.append([]) == []

        self.run(promise())

    def test_an_append_that_fails_leaves_none_of_its_records(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                with pytest.raises(LogError, match="nowhere"):
                    await log.append([record("intents"), record("nowhere")])
                assert await log.read("intents", SITE, 0, 10) == []

        self.run(promise())

    def test_the_log_goes_on_after_an_append_that_failed(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                with pytest.raises(LogError):
                    await log.append([record("nowhere")])
                await log.append([record(number=9)])
                assert numbers(await log.read("intents", SITE, 0, 10)) == [9]

        self.run(promise())

    def test_what_was_acknowledged_is_there_when_the_log_is_opened_again(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                await log.append([record(number=number) for number in range(1, 6)])
                before = await log.read("intents", SITE, 0, 10)
            async with self.opened(tmp_path) as log:
                assert await log.read("intents", SITE, 0, 10) == before
                (place,) = await log.append([record(number=6)])
                assert place.offset > before[-1].offset

        self.run(promise())

    def test_a_record_goes_to_the_partition_of_its_key_in_every_topic(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                keys = [f"site-{number}" for number in range(40)]
                for topic in ("intents", "results"):
                    places = await log.append([record(topic, 1, key) for key in keys])
                    assert [place.partition for place in places] == [partition_of(k.encode(), PARTITIONS) for k in keys]

        self.run(promise())

    @pytest.mark.parametrize(
        "stray",
        [
            pytest.param(Stray("intents", b"site-a", None, (("qb_seal", b"x"),)), id="tombstone"),
            pytest.param(Stray("intents", b"site-a", b"", ()), id="no-headers-and-an-empty-value"),
            pytest.param(Stray("intents", b"site-a", b"v", (("a", b"1"), ("a", b"1"), ("a", b""))), id="header-twice"),
            pytest.param(Stray("intents", b"site-a", b"\xff\x00", (("é", b"\xff\x00"),)), id="bytes-that-are-no-text"),
        ],
    )
    def test_a_stray_record_comes_back_byte_for_byte(self, tmp_path: Path, stray: Stray) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                await log.append([record(number=1), stray, record(number=2)])
                assert [stored.record for stored in await log.read("intents", SITE, 0, 10)][1] == stray

        self.run(promise())

    def test_a_stray_record_without_a_key_is_kept_in_some_partition(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                stray = Stray("intents", None, b"v", ())
                (place,) = await log.append([stray])
                assert [stored.record for stored in await log.read(*place, 1)] == [stray]

        self.run(promise())

    def test_concurrent_appends_neither_mix_nor_lose_records(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                said = [[record(number=100 * batch + at) for at in range(1, 6)] for batch in range(50)]
                places = await asyncio.gather(*(log.append(batch) for batch in said))
                for batch, at in zip(said, places, strict=True):
                    stored = await log.read("intents", SITE, at[0].offset, 5)
                    assert [one.record for one in stored] == batch
                assert len({place for batch in places for place in batch}) == 250

        self.run(promise())

    def test_appends_of_one_author_one_after_the_other_keep_their_order(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                for number in range(1, 21):
                    await log.append([record(number=number)])
                assert numbers(await log.read("intents", SITE, 0, 100)) == list(range(1, 21))

        self.run(promise())

    def test_who_sees_one_topic_of_an_append_sees_the_others(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                seen: list[tuple[int, int]] = []

                async def watch() -> None:
                    while not seen or seen[-1][0] < 30:
                        intents = await log.read("intents", SITE, 0, 1_000)
                        results = await log.read("results", SITE, 0, 1_000)
                        seen.append((len(intents), len(results)))
                        await asyncio.sleep(0)

                watching = asyncio.create_task(watch())
                for number in range(1, 31):
                    await log.append([record("intents", number), record("results", number)])
                await watching
                assert all(results >= intents for intents, results in seen)

        self.run(promise())

    def test_ends_are_past_all_records_that_were_acknowledged(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                assert set((await log.ends(SITE)).values()) == {0}
                places = await log.append([record(), record(), record("results")])
                ends = await log.ends(SITE)
                assert ends["intents"] == places[1].offset + 1
                assert ends["results"] == places[2].offset + 1
                assert ends["approvals"] == 0

        self.run(promise())

    def test_a_wait_ends_with_the_next_append(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                waiting = asyncio.create_task(log.wait(SITE, await log.ends(SITE), 30))
                await asyncio.sleep(0.05)
                assert not waiting.done()
                await log.append([record("results")])
                await asyncio.wait_for(waiting, 5)

        self.run(promise())

    def test_a_wait_for_what_is_there_already_ends_at_once(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                ends = await log.ends(SITE)
                await log.append([record()])
                await asyncio.wait_for(log.wait(SITE, ends, 30), 5)

        self.run(promise())

    def test_a_wait_for_nothing_ends_with_its_time(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                await log.append([record()])
                started = asyncio.get_running_loop().time()
                await log.wait(SITE, await log.ends(SITE), 0.1)
                assert 0.09 <= asyncio.get_running_loop().time() - started < 5

        self.run(promise())

    def test_a_wait_ignores_other_partition_numbers(self, tmp_path: Path) -> None:
        async def promise() -> None:
            async with self.opened(tmp_path) as log:
                other = next(key for key in map("site-{}".format, range(99)) if partition_of(key.encode(), 4) != SITE)
                waiting = asyncio.create_task(log.wait(SITE, await log.ends(SITE), 0.3))
                await log.append([record(key=other)])
                await asyncio.sleep(0.1)
                assert not waiting.done()
                await waiting

        self.run(promise())


def numbers(stored: Sequence[Stored]) -> list[int]:
    """The numbers of well-formed records."""
    return [int(one.record.sequence) for one in stored if isinstance(one.record, Record)]
