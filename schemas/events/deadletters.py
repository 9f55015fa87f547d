"""Topic `deadletters`: records that were refused, by their place on the log."""

from pydantic import Field

from schemas.words import Count, Event, HexDigest


class EventRejected(Event):
    """A record was refused; it stays where it is and no stage acts on it."""

    topic: str
    partition: Count
    offset: Count
    digest: HexDigest = Field(description="of the statement, or of the raw record where it has none")
    reason: str = Field(description="a stable code")
    detail: str
    count: Count = Field(default=1, description="records of this source summed in this event")
