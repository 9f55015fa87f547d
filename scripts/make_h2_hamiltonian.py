"""Make the two-qubit Hamiltonian of H2 from first principles: a bond length goes in, two JSON files come out.

Run by hand in an environment of its own, never at run time:

    pip install pyscf==2.14.0 openfermion==1.8.1
    python scripts/make_h2_hamiltonian.py agents/workloads/vqe/

Two files are written: `hamiltonian.json`, which a job takes in, and `exact.json`, the reference energies, which no
job sees: they only serve to judge a result after it was recorded.
"""

import json
import sys
from pathlib import Path

import numpy as np
from openfermion import (
    InteractionOperator,
    QubitOperator,
    get_fermion_operator,
    get_sparse_operator,
    symmetry_conserving_bravyi_kitaev,
)
from openfermion.chem.molecular_data import spinorb_from_spatial
from pyscf import ao2mo, fci, gto, scf

BOND_LENGTH_ANGSTROM = 0.735
BASIS = "sto-3g"
SOURCE = {
    "molecule": "H2",
    "bond_length_angstrom": BOND_LENGTH_ANGSTROM,
    "basis": "STO-3G",
    "method": "PySCF 2.14.0 RHF integrals; OpenFermion 1.8.1 symmetry-conserving Bravyi-Kitaev transform "
    "(arXiv:1701.08213) to 2 qubits at 2 electrons and spin 0",
    "script": "scripts/make_h2_hamiltonian.py",
}


def molecular_energies() -> tuple[QubitOperator, float, float]:
    """Return the two-qubit operator, the Hartree-Fock and the full-CI energy, in hartree, nuclei included."""
    molecule = gto.M(atom=f"H 0 0 0; H 0 0 {BOND_LENGTH_ANGSTROM}", basis=BASIS, unit="Angstrom", verbose=0)
    mean_field = scf.RHF(molecule)
    mean_field.conv_tol = 1e-12
    hartree_fock = float(mean_field.kernel())
    orbitals = mean_field.mo_coeff
    one_body = orbitals.T @ mean_field.get_hcore() @ orbitals
    two_body = ao2mo.restore(1, ao2mo.kernel(molecule, orbitals), orbitals.shape[1])
    full_ci = float(fci.FCI(mean_field).kernel()[0])
    # OpenFermion orders the two-body tensor as in physics notation: (pq|rs) of chemistry becomes h[p, r, s, q].
    spin_one, spin_two = spinorb_from_spatial(one_body, np.asarray(two_body.transpose(0, 2, 3, 1), order="C"))
    interaction = InteractionOperator(molecule.energy_nuc(), spin_one, 0.5 * spin_two)
    operator = symmetry_conserving_bravyi_kitaev(
        get_fermion_operator(interaction), active_orbitals=4, active_fermions=2
    )
    operator.compress(1e-10)
    return operator, hartree_fock, full_ci


def pauli_terms(operator: QubitOperator) -> dict[str, float]:
    """Return {"IZ": coefficient}, letter k for qubit k, coefficients in hartree."""
    terms = {}
    for factors, coefficient in operator.terms.items():
        letters = ["I", "I"]
        for qubit, letter in factors:
            letters[qubit] = letter
        terms["".join(letters)] = float(np.real(coefficient))
    return dict(sorted(terms.items()))


def main() -> None:
    """Write both files into the folder named on the command line, after checking the operator against full CI."""
    folder = Path(sys.argv[1])
    operator, hartree_fock, full_ci = molecular_energies()
    lowest = float(np.linalg.eigvalsh(get_sparse_operator(operator, n_qubits=2).toarray())[0])
    if abs(lowest - full_ci) > 1e-8:
        raise SystemExit(f"qubit ground state {lowest} is not the full-CI energy {full_ci}")
    hamiltonian = {"qubits": 2, "unit": "hartree", "terms": pauli_terms(operator), "source": SOURCE}
    exact = {"exact_hartree": full_ci, "hartree_fock_hartree": hartree_fock, "unit": "hartree", "source": SOURCE}
    for name, document in (("hamiltonian.json", hamiltonian), ("exact.json", exact)):
        (folder / name).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
