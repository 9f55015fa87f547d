"""The inside of a program's enclosure: a child process starts here, gives up what it can, then becomes the program.

Run by path with an isolated interpreter, so it stands alone. Arguments: `network` or `no-network`, then the limits as
`name=number`, then the program. With `probe` it only says whether the network can be given up: exit 0 if so.
"""

import ctypes
import resource
import runpy
import sys

CANNOT_ENCLOSE = 97
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000


def give_up_network() -> bool:
    """Enter a network namespace of one's own with no interface up, in a user namespace where the kernel asks for it."""
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (OSError, AttributeError):
        return False
    return any(unshare(flags) == 0 for flags in (_NEW_USER | _NEW_NETWORK, _NEW_NETWORK))


def limit(name: str, value: int) -> None:
    """Set a resource limit, both soft and hard, never above the hard limit that is there."""
    kind = getattr(resource, f"RLIMIT_{name.upper()}")
    hard = resource.getrlimit(kind)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))


def main(arguments: list[str]) -> None:
    """Give up the network if told to, set the limits, become the program."""
    network, *limits = arguments
    if network == "probe":
        raise SystemExit(0 if give_up_network() else CANNOT_ENCLOSE)
    if network == "no-network" and not give_up_network():
        raise SystemExit(CANNOT_ENCLOSE)
    program = limits.pop()
    for each in limits:
        name, _, value = each.partition("=")
        limit(name, int(value))
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
