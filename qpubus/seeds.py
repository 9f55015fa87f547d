"""The main job over many seeds: seeds go in; whether energies and their stated errors are right comes out."""

import asyncio
import math
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.workloads.vqe import exact_energy_hartree, hamiltonian_terms
from agents.workloads.vqe.fit_results import KINDS, OUTCOMES, energies
from qpubus.bars import Counted
from qpubus.demo import JobAlone, run_job_alone
from qpubus.problem import Problem

SEED_FIRST = 1
CHEMICAL_MHA = 1.6
"""1 kcal/mol: what chemists call chemical accuracy."""
MEAN_ERROR_MHA_MAX = 0.4
WITHIN_SHARE_MIN = 0.97
COVERED_SHARE_MIN, COVERED_SHARE_MAX = 0.90, 0.99
SHARE_SEEDS_MIN = 100
"""With fewer a share says little: then a count is wrong that honest intervals give less than once in a thousand."""
_ONCE_IN = 1e-3
RAW_OFF_MEAN_MHA_MAX = 1.0
RAW_OFF_SHARE_MAX, RAW_AS_NOISY_SHARE_MIN = 0.3, 0.95
"""Before mitigation the error must be as large as the noise makes it, which is what each job's own snapshot predicts.
A snapshot is an estimate, and the device drifts on while a job runs: single errors (of about 12 mHa) stray by about a
tenth from the prediction, their mean over 20 seeds by 0.25 mHa."""
_TWO_SIDED_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Energy:
    """What the job found under one seed, in millihartree; errors are against the exact value, which it never saw."""

    seed: int
    error_mha: float
    standard_error_mha: float
    raw_error_mha: float
    raw_error_by_snapshot_mha: float

    @property
    def raw_off_mha(self) -> float:
        """How much more error there was before mitigation than the job's snapshot predicts."""
        return self.raw_error_mha - self.raw_error_by_snapshot_mha

    @property
    def is_as_noisy_as_predicted(self) -> bool:
        """Whether the error before mitigation is as large as the noise makes it."""
        return abs(self.raw_off_mha) <= RAW_OFF_SHARE_MAX * abs(self.raw_error_by_snapshot_mha)

    @property
    def is_covered(self) -> bool:
        """Whether the stated 95 % interval holds the exact value."""
        return abs(self.error_mha) <= _TWO_SIDED_95 * self.standard_error_mha


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold over all seeds."""

    name: str
    value: float
    low: float
    high: float | None

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.low <= self.value and (self.high is None or self.value <= self.high)


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What was found under each seed, and what must hold over all of them."""

    energies: Sequence[Energy]

    def checks(self) -> list[Check]:
        """Everything that must hold, with its value."""
        count = len(self.energies)
        within = sum(abs(each.error_mha) <= CHEMICAL_MHA for each in self.energies)
        covered = sum(each.is_covered for each in self.energies)
        mean = math.fsum(each.error_mha for each in self.energies) / count
        raw_off = math.fsum(each.raw_off_mha for each in self.energies) / count
        as_noisy = sum(each.is_as_noisy_as_predicted for each in self.energies)
        return [
            Check("mean error in mHa", mean, -MEAN_ERROR_MHA_MAX, MEAN_ERROR_MHA_MAX),
            Check(f"seeds within {CHEMICAL_MHA} mHa", within, math.floor(WITHIN_SHARE_MIN * count), count),
            Check(
                "seeds whose 95 % interval holds the exact value",
                covered,
                *_covered_bounds(count),
            ),
            Check(
                "mean error before mitigation beyond what snapshots predict, in mHa",
                raw_off,
                -RAW_OFF_MEAN_MHA_MAX,
                RAW_OFF_MEAN_MHA_MAX,
            ),
            Check(
                f"seeds whose error before mitigation is within {RAW_OFF_SHARE_MAX:.0%} of the predicted one",
                as_noisy,
                math.floor(RAW_AS_NOISY_SHARE_MIN * count),
                count,
            ),
        ]

    def shortfalls(self) -> list[str]:
        """What does not hold, each in a line."""
        return [f"{each.name}: {each.value:.4g}" for each in self.checks() if not each.holds]


def check_seeds(seeds: Sequence[int], progress: Counted | None = None) -> SeedReport:
    """Run the job under each seed, as many at once as there are processors."""
    workers = min(len(seeds), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(energy_under, seed) for seed in seeds]
        for done, _ in enumerate(as_completed(running), 1):
            if progress:
                progress(done, len(seeds))
        return SeedReport([each.result() for each in running])


def energy_under(seed: int) -> Energy:
    """What the job finds under a seed."""
    with tempfile.TemporaryDirectory(prefix="qpubus-seed-") as name:
        alone = asyncio.run(run_job_alone(Path(name) / "data", seed))
    job = alone.job
    found = {each.name: each for each in job.result.observables} if job.result else {}
    if not {"energy_hartree", "energy_raw_hartree"} <= set(found):
        raise Problem(f"under seed {seed} the job has no energy: it is {job.state}")
    energy, raw, exact = found["energy_hartree"], found["energy_raw_hartree"], exact_energy_hartree()
    return Energy(
        seed,
        1e3 * (energy.value - exact),
        1e3 * energy.standard_error,
        1e3 * (raw.value - exact),
        1e3 * (raw_energy_by_snapshot(alone) - exact),
    )


def raw_energy_by_snapshot(alone: JobAlone) -> float:
    """The energy before mitigation, in hartree, that a job should find if its device is as its snapshot measured it."""
    seen = {kind: np.zeros(len(OUTCOMES)) for kind in KINDS}
    for circuit in alone.stored.circuits():
        label = alone.stored.planned[circuit.step].circuits[circuit.place].label
        if label in seen:
            seen[label] += circuit.counts().total() * alone.predicted[circuit.step, circuit.place]
    terms = hamiltonian_terms()
    return float(energies(terms, {kind: counts / counts.sum() for kind, counts in seen.items()})[1])


def _covered_bounds(count: int) -> tuple[int, int]:
    """How many of `count` intervals of 95 % must, and how many may, hold the exact value."""
    if count >= SHARE_SEEDS_MIN:
        return math.floor(COVERED_SHARE_MIN * count), math.ceil(COVERED_SHARE_MAX * count)
    fewest, chance = 0, 0.05**count
    while chance < _ONCE_IN:
        fewest += 1
        chance += math.comb(count, fewest) * 0.95**fewest * 0.05 ** (count - fewest)
    return fewest, count
