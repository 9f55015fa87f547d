"""First program of the VQE job: Hamiltonian and parameters in, the first circuits out.

Reads one JSON object {"hamiltonian", "parameters"} on stdin and writes {"circuits": [...]} on stdout. The ansatz has
one angle and its energy is a sinusoid of it, so three angles span the landscape: the Hartree-Fock state (0) and both
quarter turns. Nothing is assumed about where the minimum lies.
"""

import json  # noqa: TID251  a program has the standard library and numpy only
import math
import sys
from typing import Any

MEASURE_Z, MEASURE_XX = 0, 1


def first_circuits(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Return both bases at the three angles; the Hartree-Fock state along z has a known outcome: a canary."""
    circuits = []
    for theta in (0.0, math.pi / 2, -math.pi / 2):
        for template in (MEASURE_Z, MEASURE_XX):
            known = "11" if (theta, template) == (0.0, MEASURE_Z) else None
            circuits.append(
                {
                    "template": template,
                    "parameters": {"theta": theta},
                    "shots": parameters["search_shots"],
                    "label": "search:1",
                    "canary": known,
                }
            )
    return circuits


def check_hamiltonian(hamiltonian: dict[str, Any]) -> None:
    """Refuse an operator that the two bases of the templates cannot measure."""
    unknown = set(hamiltonian["terms"]) - {"II", "ZI", "IZ", "ZZ", "XX"}
    if hamiltonian["qubits"] != 2 or unknown:
        raise SystemExit(f"the templates measure two qubits along z and xx, not {sorted(unknown)}")


def main() -> None:
    """Read, check, answer."""
    job = json.load(sys.stdin)
    check_hamiltonian(job["hamiltonian"])
    json.dump({"circuits": first_circuits(job["parameters"])}, sys.stdout)


if __name__ == "__main__":
    main()
