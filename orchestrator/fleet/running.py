"""One service while it runs: started, watched, restarted, stopped. No loop and no waiting in here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.domain.errors import OrchestratorError
from orchestrator.embedded.child import spawn
from orchestrator.fleet.identity import ProcessIdentity, identify
from orchestrator.fleet.log_files import telling_line
from orchestrator.fleet.record import Entry
from orchestrator.fleet.service import Service, State
from orchestrator.fleet.spare import Order, Spare

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0
STEADY_AFTER_S = 60.0


def backoff_s(failures: int) -> float:
    """Seconds to wait before start number ``failures`` + 1: 0.2, 0.4, 0.8 … 30."""
    return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 16))


class RunningService:
    """The process of one service and what is to happen with it next.

    ``failures`` counts ends in a row, and is forgotten after STEADY_AFTER_S of running. ``spare``: becomes its next
    process, where the service allows that and there is one.
    """

    def __init__(
        self, service: Service, data_dir: Path, report: Callable[[str], None], spare: Spare | None = None
    ) -> None:
        self.service = service
        self._spare = spare
        self.state = State.WAITING
        self.failures = 0
        self.starts = 0
        self.due_at = 0.0
        self.started_at = 0.0
        self.log = data_dir / "logs" / f"{service.name}.log"
        self._log_from = 0
        self._cwd = data_dir
        self._report = report
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: ProcessIdentity | None = None
        self._warned_slow = False

    @property
    def alive(self) -> bool:
        """Whether a process of it runs, as of the last ``watch``."""
        return self._process is not None

    @property
    def last_words(self) -> str:
        """The line of its log that says most about its latest process."""
        return telling_line(self.log, self._log_from)

    def start(self) -> None:
        """Start it. A program that cannot be started counts as one that ended at once."""
        self.started_at = time.monotonic()
        self.starts += 1
        self.state = State.STARTING
        self._warned_slow = False
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        try:
            if self.service.prepare is not None:
                self.service.prepare()
            self._process = self._spawn()
        except (OSError, OrchestratorError) as error:
            self._fail(f"cannot be started: {error}")
            return
        self._identity = identify(self._process.pid)

    def watch(self) -> bool:
        """Look at it once and go on: note its end, its readiness, the time to start again. True if it changed."""
        before = (self.state, self.starts)
        if self._process is not None:
            self._watch_process(self._process)
        elif self.state is State.BACKOFF and time.monotonic() >= self.due_at:
            self.start()
        return before != (self.state, self.starts)

    def signal(self, number: signal.Signals) -> None:
        """Signal its main process; nothing happens when it has ended."""
        if self._process is not None:
            os.kill(self._process.pid, number)  # not reaped by us, so the pid is still its own

    def is_gone(self) -> bool:
        """Reap it if it has ended. For stopping: nothing is started again."""
        if self._process is None or self._reap(self._process) is not None:
            self.state = State.STOPPED if self.state is not State.DONE else State.DONE
            return True
        return False

    def next_look_s(self) -> float:
        """Seconds until ``watch`` has something to do apart from the end of the process."""
        if self.state is State.BACKOFF:
            return max(0.0, self.due_at - time.monotonic())
        return 0.05 if self.state is State.STARTING else 60.0

    def entry(self) -> Entry:
        """What the record says about it."""
        identity = self._identity if self._process is not None else None
        pid, ticks = (identity.pid, identity.start_ticks) if identity else (0, 0)
        return Entry(self.service.name, self.state, pid, ticks, self.starts, int(self.service.stop_signal))

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self._spare is not None and self.service.spare_words:
            process = self._spare.take(Order(self.service.name, self.service.spare_words, str(self.log)))
            if process is not None:
                return process
        return spawn(
            self.service.argv,
            env=self.service.env,
            log=self.log,
            death_signal=self.service.death_signal,
            # The stores' user may not enter the data directory; and no service may import from the shell's place.
            cwd=Path("/") if self.service.user is not None else self._cwd,
            run_as=self.service.user,
        )

    def _watch_process(self, process: subprocess.Popen[bytes]) -> None:
        status = self._reap(process)
        if status is not None:
            self._ended(status)
        elif self.state is State.STARTING:
            self._watch_start()
        elif self.failures and time.monotonic() - self.started_at > STEADY_AFTER_S:
            self.failures = 0

    def _watch_start(self) -> None:
        if not self.service.restart:
            return  # a step: ready when it has ended
        if self.service.ready is None or self.service.ready():
            self.state = State.READY
            self._report(f"{self.service.name} is ready ({time.monotonic() - self.started_at:.1f} s)")
        elif not self._warned_slow and time.monotonic() - self.started_at > self.service.ready_limit_s:
            self._warned_slow = True
            self._report(f"{self.service.name} is still not ready: {self.last_words} (see {self.log})")

    def _ended(self, status: int) -> None:
        if not self.service.restart and status == 0:
            self.state = State.DONE
            self._report(f"{self.service.name} done ({time.monotonic() - self.started_at:.1f} s)")
            return
        what = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
        # Somebody ended it, or it left by itself: then its log says nothing about why.
        told_to = status in (0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)
        self._fail(what if told_to else f"{what}: {self.last_words}")

    def _fail(self, what: str) -> None:
        if time.monotonic() - self.started_at > STEADY_AFTER_S:
            self.failures = 0
        self.failures += 1
        wait = backoff_s(self.failures)
        self.due_at = time.monotonic() + wait
        self.state = State.BACKOFF
        self._report(f"{self.service.name} {what}; starting it again in {wait:g} s")

    def _reap(self, process: subprocess.Popen[bytes]) -> int | None:
        """Exit status if it has ended, else None. Its group is killed before its pid is given back.

        No child of a service outlives it, or a worker's child would go on beside its successor. Agents are in
        sessions of their own.
        """
        if not _has_ended(process):
            return None
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left but the zombie
            os.killpg(process.pid, signal.SIGKILL)
        self._process = None
        return process.wait()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; it stays a zombie where the system allows that, so that its group id stays its own."""
    if sys.platform == "darwin":
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
