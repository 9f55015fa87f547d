"""The inside of a program's enclosure: a child process starts here, gives up what it can, then becomes the program.

Run by path with an isolated interpreter, so it stands alone. First argument: what must be given up, of `WAYS`, joined
by commas; then the limits as `name=number`, then the program. With `probe` alone it tries all and prints what can be
given up. What each means:

    network     no network but an interface that is down
    processes   other processes are not there; when the program ends, all that it started ends
    signals     none reaches a process outside
    space       its directory is a file system of its own, of bounded size and number of files
    files       of all other files only the interpreter and the system's libraries can be opened, to read
"""

import ctypes
import os
import resource
import runpy
import signal
import stat
import struct
import sys
from pathlib import Path

WAYS = ("files", "network", "processes", "signals", "space")
CANNOT_ENCLOSE = 97
SIGNALLED = 128
"""Added to the number of the signal that ended a program, where a process stands between it and us."""
SPACE_BYTES = 64 << 20
SPACE_FILES = 1_024
_NEW_MOUNTS, _NEW_USER, _NEW_PROCESSES, _NEW_NETWORK = 0x20000, 0x10000000, 0x20000000, 0x40000000
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PARENT_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38
_CAPABILITIES_VERSION = 0x20080522
_MOUNT_PRIVATE, _MOUNT_PLAIN = 0x44000, 0b1110
"""Propagate no mounts, down to the leaves; no set-user-id, no devices, no execution."""
_READ = 0b1101
"""Landlock's rights to execute, read a file and list a directory."""
_RIGHTS_BY_VERSION = (13, 14, 15, 15, 16)
"""How many rights over files each version of Landlock knows; later ones as the last."""
_FILE_RIGHTS = 0b1100000000000111
"""Those that apply to a file that is no directory."""
_SCOPES_SINCE, _SCOPE_ALL = 6, 0b11
"""The version of Landlock that first keeps signals, and connections to abstract sockets, inside."""


def enter_namespaces(wanted: set[str]) -> set[str]:
    """Leave the network and the processes of this machine, as far as the kernel lets; the ways that were gone.

    `space` among them says that a file system of one's own can be mounted and written. A user namespace comes with it
    where the kernel asks for one, with no user but the present one.
    """
    unshare, user, group = _libc().unshare, os.getuid(), os.getgid()
    apart = _NEW_NETWORK | _NEW_PROCESSES | _NEW_MOUNTS
    if "processes" in wanted and unshare(_NEW_USER | apart) == 0:
        return {"network", "processes", *(("space",) if _maps_ids(user, group) else ())}
    if "processes" in wanted and unshare(apart) == 0:
        return {"network", "processes", "space"}
    left = any(unshare(flags) == 0 for flags in (_NEW_USER | _NEW_NETWORK, _NEW_NETWORK))
    return {"network"} if left else set()


def own_space(directory: str) -> bool:
    """Put an empty file system of bounded size over a directory; needs mounts of one's own."""
    mount = _libc().mount
    bounds = f"size={SPACE_BYTES},nr_inodes={SPACE_FILES},mode=700".encode()
    path = os.fsencode(directory)
    return bool(
        mount(None, b"/", None, ctypes.c_ulong(_MOUNT_PRIVATE), None) == 0
        and mount(b"tmpfs", path, b"tmpfs", ctypes.c_ulong(_MOUNT_PLAIN), bounds) == 0
    )


def begin_processes() -> None:
    """Go on as a new process among one's own processes; the one that was ends as this one does.

    Between the two stands the first of the new processes, still in the old one's process group. It is out of the reach
    of what goes on here, and when it ends or is killed the kernel ends all the others.
    """
    first = os.fork()
    if first:
        os._exit(_status_of(first))
    _libc().prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    second = os.fork()
    if second:
        os._exit(_status_of(second))


def give_up_files() -> set[str]:
    """Keep the interpreter and the system's libraries to read and this directory to write (Landlock); no other file.

    Where this version of Landlock can, no signal reaches a process outside either.
    """
    call = _libc().syscall
    version = call(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return set()
    every = (1 << _RIGHTS_BY_VERSION[min(version, len(_RIGHTS_BY_VERSION)) - 1]) - 1
    scoped = version >= _SCOPES_SINCE
    handled = struct.pack("=QQQ", every, 0, _SCOPE_ALL) if scoped else struct.pack("=Q", every)
    rules = call(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    if rules < 0:
        return set()
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
    if _libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or call(_RESTRICT_SELF, rules, 0):
        return set()
    return {"files", "signals"} if scoped else {"files"}


def give_up_powers() -> None:
    """Drop every capability for good, also those over one's own namespaces."""
    libc = _libc()
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.capset(struct.pack("=Ii", _CAPABILITIES_VERSION, 0), bytes(24))


def limit(name: str, value: int) -> None:
    """Set a resource limit, both soft and hard, never above the hard limit that is there."""
    kind = getattr(resource, f"RLIMIT_{name.upper()}")
    hard = resource.getrlimit(kind)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))


def enclose(wanted: set[str], directory: str, content: dict[str, bytes]) -> set[str]:
    """Give up what is wanted, in the one order in which that works; says what is given up then.

    `content` is in the directory afterwards, whether or not another file system lies there now. The process that goes
    on from here may be another than the one that called.
    """
    if sys.platform != "linux":
        return set()
    _libc().prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    held = enter_namespaces(wanted)
    if "space" in held and not own_space(directory):
        held.remove("space")
    if "space" in held:
        os.chdir(directory)
        for name, bytes_ in content.items():
            Path(name).write_bytes(bytes_)
    if "processes" in held:
        begin_processes()
        held.add("signals")
    held |= give_up_files()
    give_up_powers()
    return held


def main(arguments: list[str]) -> None:
    """Give up what is asked, set the limits, become the program."""
    asked, *limits = arguments
    if asked == "probe":
        held = enclose(set(WAYS), str(Path.cwd()), {})
        print(",".join(sorted(held)), flush=True)  # noqa: T201 - the answer to our parent
        return
    program = limits.pop()
    path = Path(program)
    wanted = set(filter(None, asked.split(",")))
    if not wanted <= enclose(wanted, str(path.parent), {path.name: path.read_bytes()}):
        raise SystemExit(CANNOT_ENCLOSE)
    for each in limits:
        name, _, value = each.partition("=")
        limit(name, int(value))
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


def _status_of(awaited: int) -> int:
    """How a child ended, as a shell would say it; other children that end before are past minding."""
    while True:
        ended, status = os.wait()
        if ended == awaited:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else SIGNALLED - code


def _maps_ids(user: int, group: int) -> bool:
    """Be known in the new user namespace as before; who is not can write to no file system of that namespace."""
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:
        return False
    return True


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    main(sys.argv[1:])
