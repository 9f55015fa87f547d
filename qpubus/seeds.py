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

from agents.workloads.vqe import exact_energy_hartree
from qpubus.bars import Counted
from qpubus.demo import run_job_alone
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
RAW_ERROR_MHA_MIN = 3.0
"""Without mitigation the noise shows; if it did not, the job would prove nothing."""
_TWO_SIDED_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Energy:
    """What the job found under one seed, in millihartree; errors are against the exact value, which it never saw."""

    seed: int
    error_mha: float
    standard_error_mha: float
    raw_error_mha: float

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
        raw = math.fsum(each.raw_error_mha for each in self.energies) / count
        return [
            Check("mean error in mHa", mean, -MEAN_ERROR_MHA_MAX, MEAN_ERROR_MHA_MAX),
            Check(f"seeds within {CHEMICAL_MHA} mHa", within, math.floor(WITHIN_SHARE_MIN * count), count),
            Check(
                "seeds whose 95 % interval holds the exact value",
                covered,
                *_covered_bounds(count),
            ),
            Check("mean error before mitigation in mHa", raw, RAW_ERROR_MHA_MIN, None),
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
        job = asyncio.run(run_job_alone(Path(name) / "data", seed))
    found = {each.name: each for each in job.result.observables} if job.result else {}
    if not {"energy_hartree", "energy_raw_hartree"} <= set(found):
        raise Problem(f"under seed {seed} the job has no energy: it is {job.state}")
    energy, raw, exact = found["energy_hartree"], found["energy_raw_hartree"], exact_energy_hartree()
    return Energy(seed, 1e3 * (energy.value - exact), 1e3 * energy.standard_error, 1e3 * (raw.value - exact))


def _covered_bounds(count: int) -> tuple[int, int]:
    """How many of `count` intervals of 95 % must, and how many may, hold the exact value."""
    if count >= SHARE_SEEDS_MIN:
        return math.floor(COVERED_SHARE_MIN * count), math.ceil(COVERED_SHARE_MAX * count)
    fewest, chance = 0, 0.05**count
    while chance < _ONCE_IN:
        fewest += 1
        chance += math.comb(count, fewest) * 0.95**fewest * 0.05 ** (count - fewest)
    return fewest, count
