"""Settings that all tests share."""

from hypothesis import settings

# No deadline: a machine with two shared cores stalls now and then. Derandomised: the same tree gives the same verdict.
settings.register_profile("qpubus", deadline=None, derandomize=True, database=None)
settings.load_profile("qpubus")
