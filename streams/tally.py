"""What a worker has done since it started, counted for whoever watches it."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Records read, events said, records refused by reason, and the time that deciding took, appends left out."""

    read: int = 0
    said: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    decide_s: float = 0.0
