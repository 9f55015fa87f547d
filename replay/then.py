"""Events written by the schemas of another day, so that a decision on an old log comes out to the bytes it had."""

from schemas.admission import Admission
from schemas.avro_text import avro_text
from schemas.codec import Schema, encode_by
from schemas.words import Event, wire_name
from streams.author import Draft, Scribe, Written


class ScribeOfThen(Scribe):
    """Writes each event by the schema of its type that was published last, as far as a reader has read by now.

    A release publishes the schemas of its own words before it writes by them, so that is the schema that was used.
    """

    def __init__(self, source: str, site: str, admission: Admission) -> None:
        """`admission` knows the schemas, and goes on reading."""
        super().__init__(source, site, {})
        self._admission = admission
        self._known = 0

    def write(self, draft: Draft, body: bytes | None = None) -> Written:
        """The record of a draft; `KeyError` if no schema of it was published, `ValueError` if that has other fields."""
        schema = self._schema(type(draft.event))
        if body is None and schema.text != avro_text(type(draft.event)):
            body = encode_by(draft.event, schema)
        return super().write(draft, body)

    def _schema(self, event_type: type[Event]) -> Schema:
        published = self._admission.schemas
        if len(published) != self._known:
            self._known = len(published)
            self._schemas = {schema.event_type: schema for schema in published.values()}
        return self._schemas[wire_name(event_type)]
