"""Looking at processes of this Linux machine, and ending exactly the ones that are meant.

Standard library only, and little of it: the shim imports this module, and every run pays for the shim.
A process is named by (pid, start ticks), never by its pid alone; each signal goes through a pidfd whose
identity was read again after it was opened, so a reused pid is never hit.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

_LEFT = ("Z", "X", "x")
"""States of a process that runs no more: a zombie holds only its pid."""

_PR_SET_DUMPABLE = 4
_EMPTY_LOOKS = 2
_BATCH = 128
"""Processes killed at once: each takes a file descriptor while it is waited for."""


class Process(NamedTuple):
    """One look at /proc/<pid>/stat. ``start_ticks`` counts clock ticks since boot and never moves."""

    pid: int
    ppid: int
    pgid: int
    sid: int
    state: str
    start_ticks: int
    name: str

    @property
    def has_ended(self) -> bool:
        return self.state in _LEFT

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name}) started at tick {self.start_ticks}"


class Traces(NamedTuple):
    """What the processes of one agent run are known by: an entry of the environment they were started with, the
    groups or sessions they belong to, and pids that they descend from. None is older than ``since_ticks``."""

    marker: bytes
    groups: tuple[int, ...] = ()
    roots: tuple[int, ...] = ()
    since_ticks: int = 0


class Swept(NamedTuple):
    """What a sweep did: the processes it saw dead, and those it could not end in time."""

    dead: list[Process]
    left: list[Process]


def hide_this_process() -> None:
    """From now on its environment, memory and descriptors are root's to read, not those of other processes of its
    user, and none of them may trace it; nor its forks, until they execute a program. Linux only."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def boot_id() -> str:
    """Identity of this boot of the kernel; the same in every container on it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def pid_namespace() -> int:
    """Inode of the pid namespace, 0 where the kernel shows none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def look(pid: int) -> Process | None:
    """The process or thread with that number, or None. Raises PermissionError when it exists but is hidden."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError):
        _must_not_exist(pid)
        return None
    try:
        return _parse(pid, os.read(fd, 4096))
    except ProcessLookupError:
        return None  # it went between the two calls
    finally:
        os.close(fd)


def _must_not_exist(pid: int) -> None:
    """Mounted with hidepid=2, /proc hides what lives; a signal number of 0 does not lie about it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        raise PermissionError(f"pid {pid} exists, but /proc does not show it")


def _parse(pid: int, raw: bytes) -> Process:
    """The name may hold spaces and brackets, so fields are counted from the last closing bracket."""
    opening, closing = raw.index(b"("), raw.rindex(b")")
    fields = raw[closing + 2 :].split()
    return Process(
        pid=pid,
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        state=fields[0].decode("ascii"),
        start_ticks=int(fields[19]),
        name=raw[opening + 1 : closing].decode("utf-8", "replace"),
    )


def is_thread_only(pid: int) -> bool:
    """True when that number names a thread of a process with another pid; /proc answers for both alike."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"Tgid:"):
                    return int(line[5:]) != pid
    except OSError:
        return False
    return False


def processes() -> list[Process]:
    """Every process that this one may see, zombies too."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                seen = look(int(name))
                found += [seen] if seen else []
    return found


def children_of(pid: int) -> list[int]:
    """Pids of its children, fast; empty where the kernel has no such list. Some may be missing while it changes."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(one) for one in file.read().split()]
    except OSError:
        return []


def descendants_of(pid: int) -> list[int]:
    """Pids of its children and of theirs, to the last."""
    found, fresh = [], children_of(pid)
    while fresh:
        found += fresh
        fresh = [child for one in fresh for child in children_of(one)]
    return found


def resident_bytes(pid: int) -> int:
    """Memory of that process that lies in RAM, shared pages included; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def carries(pid: int, marker: bytes) -> bool:
    """True when the environment that ``pid`` was started with has the entry ``marker`` (``NAME=value``)."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return marker in file.read().split(b"\0")
    except OSError:
        return False


def has_ended(pid: int, start_ticks: int) -> bool:
    """True when that very process is gone or a zombie. A process that is hidden counts as running."""
    try:
        seen = look(pid)
    except PermissionError:
        return False
    return seen is None or seen.start_ticks != start_ticks or seen.has_ended


def hold(pid: int, start_ticks: int) -> int | None:
    """A pidfd for exactly that process (the caller closes it), or None when it is gone or another one."""
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None  # gone, or the number of a thread
        raise
    if has_ended(pid, start_ticks):
        os.close(fd)
        return None
    return fd


def send(pid: int, start_ticks: int, signum: int) -> bool:
    """Signal exactly that process; False when it is gone. Raises PermissionError when it may not be signalled."""
    fd = hold(pid, start_ticks)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def kill_and_wait(targets: Iterable[Process], timeout_s: float) -> list[Process]:
    """SIGKILL each of ``targets`` and see it dead; those that were not dead after ``timeout_s`` seconds."""
    deadline, pending = time.monotonic() + timeout_s, list(targets)
    left: list[Process] = []
    while pending:
        batch, pending = pending[:_BATCH], pending[_BATCH:]
        left += _kill_batch(batch, deadline)
    return left


def _kill_batch(batch: list[Process], deadline: float) -> list[Process]:
    with contextlib.ExitStack() as closing:
        held = [(fd, one) for one in batch if (fd := hold(one.pid, one.start_ticks)) is not None]
        for fd, _ in held:
            closing.callback(os.close, fd)
        for fd, _ in held:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        return [one for fd, one in held if not _ends_before(deadline, fd)]


def _ends_before(deadline: float, pidfd: int) -> bool:
    """A pidfd becomes readable when its process ends, also when nobody has reaped it."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def strays(traces: Traces) -> list[Process]:
    """Running processes of one agent run: all that bear one of its traces, and all that descend from those.
    Never this process, never pid 1."""
    spared = (1, os.getpid())
    table = [
        one
        for one in processes()
        if one.start_ticks >= traces.since_ticks and one.pid not in spared and not one.has_ended
    ]
    chosen = {one.pid: one for one in table if _bears(one, traces)}
    parents = set(chosen) | set(traces.roots)
    grown = True
    while grown:
        children = [one for one in table if one.ppid in parents and one.pid not in parents]
        parents.update(one.pid for one in children)
        chosen.update((one.pid, one) for one in children)
        grown = bool(children)
    return list(chosen.values())


def _bears(one: Process, traces: Traces) -> bool:
    return one.pgid in traces.groups or one.sid in traces.groups or carries(one.pid, traces.marker)


def sweep(
    traces: Traces,
    timeout_s: float,
    between: Callable[[], None] = lambda: None,
    killing: Callable[[Process], None] = lambda one: None,
    seen_dead: Callable[[Process], None] = lambda one: None,
) -> Swept:
    """Kill the strays of a run, look again, and repeat until two looks in a row find none: a process may fork
    between the look and the signal, or slip from a number not yet read to one read already. ``between`` is called
    after each look, ``killing`` and ``seen_dead`` with each process at that moment."""
    deadline = time.monotonic() + timeout_s
    dead: dict[tuple[int, int], Process] = {}
    empty_looks = 0
    while empty_looks < _EMPTY_LOOKS:
        found = strays(traces)
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return Swept(list(dead.values()), found)
        for one in found:
            killing(one)
        left = kill_and_wait(found, min(remaining, 1.0))
        for one in found:
            if one not in left:
                dead[one.pid, one.start_ticks] = one
                seen_dead(one)
        empty_looks = 0 if found else empty_looks + 1
        between()
    return Swept(list(dead.values()), [])


def group_is_ours(leader: int, start_ticks: int) -> bool:
    """False when the pid of a group's first leader is in use by another process, so that the number now names
    somebody else's group. A leader that is gone keeps its number reserved while its group has members."""
    try:
        seen = look(leader)
    except PermissionError:
        return False
    return seen is None or seen.start_ticks == start_ticks
