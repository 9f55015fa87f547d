"""Kafka's record batches as they come from a broker, whole and broken, without a broker."""

import struct
from collections.abc import Sequence

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from schemas.envelope import Record, Stray, headers_of
from streams.log.kafka.batches import Line, committed, stored_of
from streams.log.port import LogCorrupt, LogError
from tests.support.records import record

LINE = Line("intents", 3)
_CRC, _AFTER_CRC = 17, 21


def batch(values: Sequence[bytes], headers: Sequence[tuple[str, bytes]] = (), codec: int = 0, base: int = 0) -> bytes:
    """A batch as the broker stores it, its first record at offset `base`."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 1 << 20)
    for at, value in enumerate(values):
        builder.append(at, 1_700_000_000_000, b"site-a", value, list(headers))
    return struct.pack(">q", base) + bytes(builder.build())[8:]


def resealed(data: bytes) -> bytes:
    """A batch whose checksum is made right again."""
    return data[:_CRC] + struct.pack(">I", calc_crc32c(memoryview(data)[_AFTER_CRC:])) + data[_AFTER_CRC:]


def test_records_from_the_offset_on_come_out_and_where_to_go_on() -> None:
    data = batch([b"a", b"b"]) + batch([b"c"], base=4)
    found, following = committed(LINE, data, (), 1)
    assert [(each.offset, each.value) for each in found] == [(1, b"b"), (4, b"c")]
    assert following == 5


def test_what_the_broker_cut_off_at_the_end_is_left_for_the_next_fetch() -> None:
    whole, cut = batch([b"a"]), batch([b"b"], base=1)
    found, following = committed(LINE, whole + cut[:-3], (), 0)
    assert [each.value for each in found] == [b"a"]
    assert following == 1


@pytest.mark.parametrize("at", [0, 8, 12 + 4, _CRC, 23, 40, 57, -1], ids="byte-{}".format)
def test_no_byte_of_a_batch_can_change_unseen_but_those_that_say_nothing(at: int) -> None:
    data = bytearray(batch([b"value"], base=7))
    data[at] ^= 0x40
    with pytest.raises(LogCorrupt, match=r"intents partition 3 offset \d+"):
        committed(LINE, bytes(data) + batch([b"next"], base=8), (), 7)


def test_a_header_name_that_is_no_text_keeps_its_bytes_and_stops_nobody() -> None:
    data = resealed(batch([b"v"], [("bad!", b"x"), ("good", b"y")]).replace(b"bad!", b"\xff\xfe!!"))
    ((kept,), _) = committed(LINE, data, (), 0)
    assert stored_of(LINE, 0, kept).record == Stray(
        "intents", b"site-a", b"v", ((b"\xff\xfe!!".decode("utf-8", "surrogateescape"), b"x"), ("good", b"y"))
    )


def test_a_record_in_form_comes_out_as_one() -> None:
    said = record()
    ((kept,), _) = committed(LINE, batch([said.value], headers_of(said)), (), 0)
    found = stored_of(LINE, 11, kept)
    assert isinstance(found.record, Record)
    assert found == (*LINE, 11, 1_700_000_000_000_000, said)


def test_a_compressed_batch_is_not_unpacked() -> None:
    with pytest.raises(LogError, match=r"compression\.type=uncompressed"):
        committed(LINE, batch([bytes(1 << 19)], codec=1), (), 0)
