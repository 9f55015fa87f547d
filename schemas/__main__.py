"""`python -m schemas` writes the Avro schema text of every event type to `schemas/avro`."""

from pathlib import Path

from schemas.avro_text import avro_text
from schemas.words import Event

FOLDER = Path(__file__).parent / "avro"


def write_schemas() -> None:
    """Write one file an event type, named as the event."""
    FOLDER.mkdir(exist_ok=True)
    for event_type in Event.types.values():
        (FOLDER / f"{event_type.__name__}.avsc").write_text(avro_text(event_type))


if __name__ == "__main__":
    write_schemas()
