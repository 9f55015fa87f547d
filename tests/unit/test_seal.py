import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import EnvelopeInvalid, record_digest
from schemas.events import AlarmRang
from schemas.keys import key_id, raw_public_key
from schemas.merkle import leaf_hash, root_from_path, root_hash
from schemas.seal import BATCH_MAX, batch_begun, batch_message, pae, seal_of
from tests.support.signed import SCHEMAS, Signers, private_key

RANG = AlarmRang(alarm_id="a", rings_us=1)


def test_pre_authentication_encoding_is_that_of_dsse() -> None:
    assert pae(b"http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_what_a_seal_signs_is_root_and_size() -> None:
    assert (
        batch_message(b"r" * 32, 3) == b"DSSEv1 31 application/vnd.qpubus.batch.v1 40 " + b"r" * 32 + bytes(7) + b"\3"
    )


@pytest.mark.parametrize("size", [1, 2, 3, 8, 100])
def test_every_event_of_a_batch_verifies_alone(size: int) -> None:
    records = Signers().batch("clock:main", *[RANG] * size, topic="alarms")
    digests = [record_digest(record, SCHEMAS[record.type].digest) for record in records]
    public_key = private_key("clock:main").public_key()
    for place, (record, digest) in enumerate(zip(records, digests, strict=True)):
        seal = seal_of(record.seal)
        root = root_from_path(leaf_hash(digest), seal.place, seal.size, seal.path)
        assert (seal.place, seal.size, seal.key_id) == (place, size, key_id(raw_public_key(public_key)))
        assert root == root_hash([leaf_hash(each) for each in digests])
        public_key.verify(seal.signature, batch_message(root or b"", size))


def test_only_the_first_seal_of_a_batch_tells_its_size_ahead() -> None:
    records = Signers().batch("clock:main", *[RANG] * 3, topic="alarms")
    assert [batch_begun(record.seal) for record in records] == [3, 0, 0]
    assert batch_begun(b"") == 0


@given(st.one_of(st.binary(max_size=600), st.builds(bytes.__add__, st.just(b"\1" * 81), st.binary(max_size=80))))
def test_bytes_are_a_seal_in_its_one_form_or_are_refused(header: bytes) -> None:
    try:
        seal = seal_of(header)
    except EnvelopeInvalid:
        return
    places = seal.place.to_bytes(4, "big") + seal.size.to_bytes(4, "big")
    assert seal.prefix + places + seal.path == header
    assert seal.place < seal.size <= BATCH_MAX
