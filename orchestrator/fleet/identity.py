"""Which process is meant: boot, pid namespace, pid and start ticks. A pid alone is reused.

Signals go through a pidfd that was opened before the identity was read, so none reaches a successor.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Machine:
    """The kernel's life and the pid namespace in which pids mean something."""

    boot_id: str
    pid_ns: int


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process of this machine: ``start_ticks`` is field 22 of its stat file (clock ticks since boot)."""

    pid: int
    start_ticks: int

    def lives(self) -> bool:
        """Whether that very process exists and is no zombie."""
        return _look(self.pid) == self.start_ticks

    def send(self, number: signal.Signals) -> bool:
        """Signal that very process; False when it is gone, or its pid belongs to another by now."""
        try:
            return self._send(number)
        except ProcessLookupError:
            return False

    def end(self, first: signal.Signals, grace_s: float) -> bool:
        """Signal it, and kill it when it still lives after ``grace_s``. Returns True when it is seen gone."""
        for number, patience in ((first, grace_s), (signal.SIGKILL, 5.0)):
            deadline = time.monotonic() + patience
            self.send(number)
            while self.lives():
                if time.monotonic() > deadline:
                    break
                time.sleep(_POLL_S)
            else:
                return True
        return False

    def _send(self, number: signal.Signals) -> bool:
        if sys.platform != "linux":
            if self.lives():
                os.kill(self.pid, number)
                return True
            return False
        handle = os.pidfd_open(self.pid)
        try:
            if not self.lives():
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        finally:
            os.close(handle)


def machine() -> Machine:
    """This machine, now."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return Machine(boot_id, Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return Machine(f"bt:{round(psutil.boot_time() / 60)}", 0)


def identify(pid: int) -> ProcessIdentity | None:
    """Identity of a living process; None when there is none of that pid, or only a zombie."""
    ticks = _look(pid)
    return None if ticks is None else ProcessIdentity(pid, ticks)


def children(pid: int) -> list[int]:
    """Pids of the direct children, oldest first; empty when the process is gone."""
    try:
        found = psutil.Process(pid).children()
        return sorted(child.pid for child in found if child.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return []


def _look(pid: int) -> int | None:
    if sys.platform != "linux":
        return _look_portably(pid)
    try:
        # The name in brackets may hold anything, also brackets and blanks: count from its end.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, ticks = fields[0], int(fields[19])
    return None if state in ("Z", "X") else ticks


def _look_portably(pid: int) -> int | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * 100)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
