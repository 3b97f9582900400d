"""This node: who this process is, whether another one lives, and ending exactly that one.

Linux is read through /proc. Elsewhere (macOS) psutil answers: start times there are hundredths of a second
and may be read with an error of two, and signals cannot be bound to an identity as tightly as by a pidfd.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from orchestrator.adapters import procfs
from orchestrator.domain import ownership
from orchestrator.domain.ownership import Liveness, Owner, ProcessState
from orchestrator.ports import Host

_POLL_S: Final = 0.01
_START_TOLERANCE: Final = 2
"""How far two readings of one start time may lie apart where psutil computes it from the boot time."""


class LinuxHost:
    """``ports.Host`` on /proc and pidfds. ``lost`` answers from the nodes table whether an owner's node was
    declared lost or registered again with another boot id; a process cannot see that by itself."""

    def __init__(self, node: str, lost: Callable[[Owner], bool] = lambda owner: False) -> None:
        self.node = node
        self.boot_id = procfs.boot_id()
        self.pid_ns = procfs.pid_namespace()
        self._lost = lost

    def myself(self) -> Owner:
        """Identity of the calling process, read anew each time: a forked child is somebody else."""
        seen = self.process(os.getpid())
        assert seen is not None  # this process is running
        return Owner(self.node, self.boot_id, self.pid_ns, os.getpid(), seen.start_ticks)

    def process(self, pid: int) -> ProcessState | None:
        """State of that pid; None when it does not exist or is only a thread of another process."""
        seen = procfs.look(pid)
        if seen is None or procfs.is_thread_only(pid):
            return None
        return ProcessState(seen.state, seen.start_ticks)

    def node_is_lost(self, owner: Owner) -> bool:
        return self._lost(owner)

    def liveness(self, owner: Owner) -> Liveness:
        return ownership.liveness(owner, self)

    def kill(self, owner: Owner, timeout_s: float) -> bool:
        """SIGKILL exactly that process and see it dead (a zombie is dead). True also when it was dead already;
        False when it lives elsewhere, may not be signalled, or was not dead after ``timeout_s``."""
        seen = self.liveness(owner)
        if seen is not Liveness.ALIVE:
            return seen is Liveness.DEAD
        return self._end(owner, timeout_s)

    def _end(self, owner: Owner, timeout_s: float) -> bool:
        target = procfs.look(owner.pid)
        if target is None or target.start_ticks != owner.start_ticks:
            return True
        return not procfs.kill_and_wait([target], timeout_s)

    def kill_group(self, pgid: int, timeout_s: float, leader_start_ticks: int | None = None) -> bool:
        """End every process of the group (SIGTERM, then SIGKILL after half of ``timeout_s``) and see it empty.

        True also when it was empty already, or when ``leader_start_ticks`` shows that the number now belongs to
        somebody else. Raises ValueError for this process's own group and for pid 1's.
        """
        if pgid <= 1 or pgid == os.getpgrp():
            raise ValueError(f"process group {pgid} is not one to end from here")
        if leader_start_ticks is not None and self._names_others(pgid, leader_start_ticks):
            return True
        middle, end = time.monotonic() + timeout_s / 2, time.monotonic() + timeout_s
        return self._signal_group(pgid, signal.SIGTERM, middle) or self._signal_group(pgid, signal.SIGKILL, end)

    def _names_others(self, pgid: int, leader_start_ticks: int) -> bool:
        return not procfs.group_is_ours(pgid, leader_start_ticks)

    def _signal_group(self, pgid: int, signum: signal.Signals, deadline: float) -> bool:
        """Signal until the group is empty or the deadline passes: a member may fork while it is signalled."""
        first = True
        while self._group_runs(pgid):
            if not first and time.monotonic() >= deadline:
                return False
            if first or signum is signal.SIGKILL:
                _signal_whole_group(pgid, signum)
            first = False
            time.sleep(_POLL_S)
        return True

    def _group_runs(self, pgid: int) -> bool:
        return any(one.pgid == pgid and not one.has_ended for one in procfs.processes())

    def free_bytes(self, path: Path) -> int:
        """Bytes that this user may still write below ``path``, or below its nearest parent that exists."""
        while not path.exists() and path != path.parent:
            path = path.parent
        return shutil.disk_usage(path).free


def _signal_whole_group(pgid: int, signum: signal.Signals) -> None:
    """A stopped process handles SIGTERM only once it goes on."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signum)
        os.killpg(pgid, signal.SIGCONT)


class PortableHost(LinuxHost):
    """The same by psutil, for systems without /proc."""

    def __init__(self, node: str, lost: Callable[[Owner], bool] = lambda owner: False) -> None:
        self.node = node
        self.boot_id = _portable_boot_id()
        self.pid_ns = 0
        self._lost = lost

    def process(self, pid: int) -> ProcessState | None:
        try:
            process = psutil.Process(pid)
            state = "Z" if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else "R"
            return ProcessState(state, round(process.create_time() * 100))
        except psutil.ZombieProcess:
            return ProcessState("Z", 0)
        except psutil.NoSuchProcess:
            return None
        except psutil.AccessDenied as denied:
            raise PermissionError(f"pid {pid} may not be looked at") from denied

    def liveness(self, owner: Owner) -> Liveness:
        return ownership.liveness(self._as_read_now(owner), self)

    def _as_read_now(self, owner: Owner) -> Owner:
        """The owner with its start time as read now, when both readings are of one process."""
        seen = None
        with contextlib.suppress(PermissionError):
            seen = self.process(owner.pid)
        if seen is None or abs(seen.start_ticks - owner.start_ticks) > _START_TOLERANCE:
            return owner
        return Owner(owner.node, owner.boot_id, owner.pid_ns, owner.pid, seen.start_ticks)

    def _end(self, owner: Owner, timeout_s: float) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner.pid, signal.SIGKILL)
        deadline = time.monotonic() + timeout_s
        while self.liveness(owner) is not Liveness.DEAD:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _names_others(self, pgid: int, leader_start_ticks: int) -> bool:
        try:
            seen = self.process(pgid)
        except PermissionError:
            return True
        return seen is not None and abs(seen.start_ticks - leader_start_ticks) > _START_TOLERANCE

    def _group_runs(self, pgid: int) -> bool:
        return any(_is_running_member(one, pgid) for one in psutil.process_iter())


def _is_running_member(process: psutil.Process, pgid: int) -> bool:
    try:
        return os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
    except (PermissionError, psutil.AccessDenied):
        return True


def _portable_boot_id() -> str:
    """The kernel's own name of this boot on macOS; elsewhere the minute of the boot, which may drift by one."""
    if sys.platform == "darwin":
        named = subprocess.run(["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False)
        if named.returncode == 0 and named.stdout.strip():
            return named.stdout.strip()
    return f"bt:{round(psutil.boot_time() / 60)}"


def this_host(node: str, lost: Callable[[Owner], bool] = lambda owner: False) -> Host:
    """The host adapter for the system this process runs on."""
    return LinuxHost(node, lost) if Path("/proc/self/stat").exists() else PortableHost(node, lost)
