"""The test's side of the warmed process that forks actors, and what a test does to an actor."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.processes import is_running, state_of

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


@dataclass
class Process:
    """One actor. ``parent`` is the worker's parent, where the cell has one."""

    pid: int
    said: Path
    parent: int = 0

    @property
    def runs(self) -> bool:
        return is_running(self.pid)

    def wait_stopped(self) -> bool:
        """Wait until it stands (SIGSTOP); False when it ended instead."""
        return self._wait("T")

    def wait_ended(self) -> dict[str, Any]:
        """Wait until it is gone; what it said, empty when it was killed before it could."""
        self._wait("")
        return self.report()

    def report(self) -> dict[str, Any]:
        if not self.said.exists():
            return {}
        found: dict[str, Any] = json.loads(self.said.read_text())
        return found

    def _wait(self, state: str) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            now = state_of(self.pid)
            if now == state or now in ("", "Z", "X"):
                return now == state
            assert time.monotonic() < deadline, f"pid {self.pid} is still {now!r} after {PATIENCE_S} s"
            time.sleep(0.002)

    def signal(self, signum: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait_ended()

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)


@dataclass
class Nursery:
    """Starts actors; ``end`` leaves none of them."""

    _forks: subprocess.Popen[str] = field(init=False)
    started: list[Process] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self._forks = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.actors"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def start(self, folder: Path, act: str, **order: Any) -> Process:
        """Fork one actor; it runs when this returns."""
        self._count += 1
        said = folder / f"said-{self._count}.json"
        assert self._forks.stdin is not None and self._forks.stdout is not None
        self._forks.stdin.write(json.dumps({"act": act, "said": str(said), "number": self._count, **order}) + "\n")
        self._forks.stdin.flush()
        number, *pids = json.loads(self._forks.stdout.readline())
        while number != self._count:  # the answer to an order of a test that was cut off
            number, *pids = json.loads(self._forks.stdout.readline())
        process = Process(pids[0], said, *pids[1:])
        self.started.append(process)
        return process

    def end_actors(self) -> None:
        for process in self.started:
            for pid in (process.pid, process.parent):
                if pid and is_running(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        self.started.clear()

    def end(self) -> None:
        self.end_actors()
        assert self._forks.stdin is not None and self._forks.stdout is not None
        self._forks.stdin.close()
        self._forks.wait(30)
        self._forks.stdout.close()
