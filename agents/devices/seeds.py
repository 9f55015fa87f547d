"""Seeds from names: the same job, step, circuit and chunk always give the same random stream."""

import hashlib

import numpy as np


def chunk_seed(job_seed: int, step: int, circuit: int, chunk: int) -> int:
    """Return a chunk's 64-bit seed: the first 8 bytes, big endian, of SHA-256 over "job:step:circuit:chunk" in decimal.

    A retry, a crash or another machine draws the same counts (design, section 6).
    """
    return _first_eight_bytes(f"{job_seed}:{step}:{circuit}:{chunk}")


def named_seed(seed: int, *names: str | int) -> int:
    """Return a 64-bit seed for the stream called `names` under `seed`; streams of different names are independent."""
    return _first_eight_bytes(":".join((str(seed), *map(str, names))))


def sample_counts(probabilities: np.ndarray, shots: int, seed: int) -> dict[str, int]:
    """Draw `shots` outcomes from exact probabilities.

    `probabilities` has length 2**bits, index read as a binary number with classical bit 0 leftmost. Returned keys are
    bit strings in that order; outcomes never seen are left out.
    """
    bits = int(probabilities.size).bit_length() - 1
    draws = np.random.default_rng(seed).multinomial(shots, probabilities)
    return {format(index, f"0{bits}b"): int(count) for index, count in enumerate(draws) if count}


def _first_eight_bytes(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
