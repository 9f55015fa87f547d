"""How the shots of a step are cut into chunks and in which order these run: shots by circuit in, chunks out."""

from collections.abc import Sequence
from typing import NamedTuple

STOPS_MIN = 8
"""A step has at least this many chunks where its shots allow: between two of them it can be stopped."""
CHUNK_SHOTS_MIN = 500
"""No circuit is cut finer than this for the sake of stops: loading it again costs device time."""


class Chunk(NamedTuple):
    """A part of a circuit's shots that runs in one go: place of the circuit in its step, number of the part, shots."""

    circuit: int
    chunk: int
    shots: int


def plan_chunks(shots: Sequence[int], shots_max: int) -> list[Chunk]:
    """Cut each circuit into nearly equal chunks of at most `shots_max`, and order all so that drift hits alike.

    Part k of n stands at the time (k + ½) / n of the step, so every circuit has the same mean time; what stands at the
    same time runs in the order of the circuits.
    """
    stops = -(-STOPS_MIN // max(1, len(shots)))
    timed = []
    for circuit, wanted in enumerate(shots):
        parts = max(-(-wanted // shots_max), min(stops, wanted // CHUNK_SHOTS_MIN), 1)
        for part in range(parts):
            share = wanted * (part + 1) // parts - wanted * part // parts
            timed.append(((2 * part + 1) / (2 * parts), Chunk(circuit, part, share)))
    timed.sort(key=lambda each: (each[0], each[1].circuit))
    return [chunk for _, chunk in timed]
