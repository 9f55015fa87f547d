"""Records for tests of the log: well formed, with seals that nobody checks there."""

from schemas.envelope import Record


def record(topic: str = "intents", number: int = 1, key: str = "site-a", size: int = 64) -> Record:
    """A record whose value and sequence tell its number."""
    return Record(
        topic=topic,
        key=key,
        value=number.to_bytes(8, "big") * (size // 8),
        id=f"{number:032x}",
        type="qpubus.IntentDeclared",
        source="gateway:main",
        time="2026-11-22T12:00:00.000000Z",
        subject="job-1",
        traceparent="",
        causes="",
        sequence=str(number),
        inputs="",
        seal=bytes([number % 256]) * 89,
    )
