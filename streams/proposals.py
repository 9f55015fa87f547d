"""How large a program's proposal may be: circuits go in, the bytes that they take in an event come out.

A proposal stands in StepCompleted, and again in StepPlanned if it is run. Its share leaves half of a value to all else
that these events hold, so an event made of a proposal within it is never refused for its size.
"""

from collections.abc import Sequence

from schemas.envelope import VALUE_BYTES_MAX
from schemas.events import CircuitRun

PROPOSAL_BYTES_MAX = VALUE_BYTES_MAX // 2
PROPOSAL_CIRCUITS_MAX = 4_096
PARAMETERS_MAX = 256
"""Parameters of one circuit."""
_NUMBER_BYTES_MAX = 10
_FLOAT_BYTES = 8


def why_oversized(circuits: Sequence[CircuitRun]) -> str:
    """What is too large about a proposal; empty if nothing is."""
    if len(circuits) > PROPOSAL_CIRCUITS_MAX:
        return f"{len(circuits)} circuits are proposed, the most is {PROPOSAL_CIRCUITS_MAX}"
    most = max((len(circuit.parameters) for circuit in circuits), default=0)
    if most > PARAMETERS_MAX:
        return f"a circuit has {most} parameters, the most is {PARAMETERS_MAX}"
    size = sum(map(_bytes_of, circuits))
    return f"the proposal has {size} bytes, the most is {PROPOSAL_BYTES_MAX}" if size > PROPOSAL_BYTES_MAX else ""


def _bytes_of(circuit: CircuitRun) -> int:
    """The most bytes that a circuit takes in an Avro body: texts with their lengths, numbers at their longest."""
    texts = (circuit.label, circuit.expected, *circuit.parameters)
    numbers = 2 + len(texts) + 2
    return (
        sum(len(text.encode()) for text in texts) + numbers * _NUMBER_BYTES_MAX + len(circuit.parameters) * _FLOAT_BYTES
    )
