"""The other customers of a device: a seed and the time go in, the queue they form comes out."""

import math
from dataclasses import dataclass

import numpy as np

from agents.devices.profiles import DeviceProfile
from agents.devices.seeds import named_seed

_WINDOW_US = 600_000_000
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class QueueState:
    """Jobs of others ahead of a new one, and how long they are expected to take."""

    jobs_ahead: int
    wait_us: int


def queue_state(profile: DeviceProfile, device_seed: int, now_us: int) -> QueueState:
    """Return the queue as seen at `now_us`.

    Every ten minutes a new queue is drawn: a Poisson number of jobs around the device's mean, busier at 15:00 UTC and
    calm at 03:00, each with an exponential length. Within the ten minutes the wait shrinks as time passes.
    """
    window = now_us // _WINDOW_US
    rng = np.random.default_rng(named_seed(device_seed, "queue", window))
    day_phase = (window * _WINDOW_US % _DAY_US) / _DAY_US
    busy = 1 + 0.5 * math.sin(2 * math.pi * (day_phase - 0.375))
    jobs = int(rng.poisson(profile.queue_jobs_mean * busy))
    lengths_us = rng.exponential(profile.queue_job_us, jobs)
    left_us = np.cumsum(lengths_us) - (now_us - window * _WINDOW_US)
    ahead = int(np.count_nonzero(left_us > 0))
    return QueueState(jobs_ahead=ahead, wait_us=int(left_us[-1]) if ahead else 0)
