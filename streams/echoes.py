"""Echoes: what a stage has sealed and appended comes back from the log, and need not be verified like a stranger's."""

from collections.abc import Iterable, Sequence

from schemas.admission import CLOCK_SKEW_US_MAX, Admission, Stored
from schemas.envelope import Record
from schemas.topics import WRITERS, Role
from streams.stage import Heard

_NONE = (None, None)


class Echoes:
    """What one author said at one site and has not read back yet, as it was sealed.

    An echo is a record that is byte for byte one of these, under a key that still speaks for its source, next in its
    sequence and dated as readers allow. `Admission` would admit it, and would compute again what is known here.
    """

    def __init__(self, admission: Admission) -> None:
        """`admission` judges all other records, and counts echoes among those that were admitted."""
        self._admission = admission
        self._awaited: dict[bytes, tuple[Record, Heard]] = {}

    def expect(self, sealed: Iterable[Record], heard: Sequence[Heard]) -> None:
        """Await records, which are appended now; `heard` are their events in any order."""
        by_place = {(each.cause.topic, str(each.cause.sequence)): each for each in heard}
        for record in sealed:
            if record.topic in self._admission.topics:
                self._awaited[record.seal] = (record, by_place[record.topic, record.sequence])

    def has(self, stored: Stored) -> bool:
        """Whether a record is awaited."""
        record = stored.record
        return isinstance(record, Record) and self._awaited.get(record.seal, _NONE)[0] == record

    def hear(self, stored: Stored) -> Heard | None:
        """The event in a record that is awaited; None where `Admission` has to say what is wrong with it."""
        record, heard = self._awaited.pop(stored.record.seal)  # type: ignore[union-attr]  # `has` said it is no stray
        admission, author = self._admission, (heard.source, record.topic)
        key = admission.keys.get(record.seal[1:17].hex())
        if (
            key is None
            or key.revoked
            or key.source != heard.source
            or key.devices
            or Role(key.role) not in WRITERS[record.topic][type(heard.event)]
            or author in admission.suspended
            or admission.sequences.get(author, 0) + 1 != heard.cause.sequence
            or heard.time_us > stored.append_time_us + CLOCK_SKEW_US_MAX
        ):
            return None
        admission.sequences[author] = heard.cause.sequence
        admission.said.add(*author, heard.cause.sequence, bytes.fromhex(heard.digest))
        return heard._replace(key_id=key.key_id)
