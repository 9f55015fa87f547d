"""The device that a twin emulates: what it tells of itself goes in, what the twin tells next comes out."""

from schemas.events import DeviceSnapshotTaken
from streams.speakers import speaks_for_device
from streams.stage import Heard


class Original:
    """What is known of the device that `twin` emulates; of a device that emulates none nothing ever is."""

    def __init__(self, twin: str, emulates: str) -> None:
        self._twin = twin
        self._emulates = emulates
        self._latest: tuple[DeviceSnapshotTaken, Heard] | None = None

    def hear(self, heard: Heard) -> None:
        """Know the original's latest snapshot."""
        match heard.event:
            case DeviceSnapshotTaken(device=self._emulates) as taken if speaks_for_device(heard, taken.device):
                self._latest = taken, heard
            case _:
                pass

    def news(self, told: DeviceSnapshotTaken | None) -> tuple[DeviceSnapshotTaken, Heard] | None:
        """The original's latest snapshot in the twin's name, and what told it; none where the twin has told that."""
        if self._latest is None:
            return None
        taken, heard = self._latest
        if told is not None and told.snapshot_digest == taken.snapshot_digest:
            return None
        return taken.model_copy(update={"device": self._twin}), heard
