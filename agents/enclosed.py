"""The inside of a program's enclosure: a child process starts here, gives up what it can, then becomes the program.

Run by path with an isolated interpreter, so it stands alone. First argument: what must be given up, of `network` and
`files`, joined by commas; then the limits as `name=number`, then the program. With `probe` alone it tries all and
prints what can be given up.
"""

import ctypes
import os
import resource
import runpy
import stat
import struct
import sys
from collections.abc import Callable

CANNOT_ENCLOSE = 97
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_NO_NEW_PRIVILEGES = 38
_READ = 0b1101
"""Landlock's rights to execute, read a file and list a directory."""
_RIGHTS_BY_VERSION = (13, 14, 15, 15, 16)
"""How many rights over files each version of Landlock knows; later ones as the last."""
_FILE_RIGHTS = 0b1100000000000111
"""Those that apply to a file that is no directory."""


def give_up_network() -> bool:
    """Enter a network namespace of one's own with no interface up, in a user namespace where the kernel asks for it."""
    unshare = _libc().unshare
    return any(unshare(flags) == 0 for flags in (_NEW_USER | _NEW_NETWORK, _NEW_NETWORK))


def give_up_files() -> bool:
    """Keep the interpreter and the system's libraries to read and this directory to write (Landlock); no other file."""
    call = _libc().syscall
    version = call(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    every = (1 << _RIGHTS_BY_VERSION[min(version, len(_RIGHTS_BY_VERSION)) - 1]) - 1
    handled = struct.pack("=Q", every)
    rules = call(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    if rules < 0:
        return False
    readable = {sys.prefix, sys.base_prefix, sys.exec_prefix, "/usr", "/lib", "/lib64", "/etc/ld.so.cache"}
    kept = dict.fromkeys(readable, _READ) | {"/dev/null": every, "/dev/urandom": _READ, ".": every}
    for path, rights in kept.items():
        try:
            place = os.open(path, os.O_PATH)
        except OSError:
            continue
        applicable = every if stat.S_ISDIR(os.fstat(place).st_mode) else every & _FILE_RIGHTS
        call(_ADD_RULE, rules, 1, struct.pack("=Qi", rights & applicable, place), 0)
        os.close(place)
    return bool(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0 and call(_RESTRICT_SELF, rules, 0) == 0)


def limit(name: str, value: int) -> None:
    """Set a resource limit, both soft and hard, never above the hard limit that is there."""
    kind = getattr(resource, f"RLIMIT_{name.upper()}")
    hard = resource.getrlimit(kind)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))


def main(arguments: list[str]) -> None:
    """Give up what is asked, set the limits, become the program."""
    asked, *limits = arguments
    if asked == "probe":
        print(",".join(name for name in sorted(_WAYS) if _gave_up(name)))  # noqa: T201 - the answer to our parent
        return
    if not all(_gave_up(name) for name in asked.split(",") if name):
        raise SystemExit(CANNOT_ENCLOSE)
    program = limits.pop()
    for each in limits:
        name, _, value = each.partition("=")
        limit(name, int(value))
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


def _gave_up(name: str) -> bool:
    return sys.platform == "linux" and _WAYS[name]()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


_WAYS: dict[str, Callable[[], bool]] = {"files": give_up_files, "network": give_up_network}

if __name__ == "__main__":
    main(sys.argv[1:])
