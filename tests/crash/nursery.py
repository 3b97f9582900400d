"""The test's side of the warmed process that forks actors, and what a test does to an actor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.adapters import procfs

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


@dataclass
class Process:
    """One actor, known by pid and start ticks: other cells have the kernel give pids away again, to anybody.
    ``parent`` is the worker's parent, where the cell has one."""

    pid: int
    ticks: int
    said: Path
    parent: Process | None = None

    @property
    def runs(self) -> bool:
        return not procfs.has_ended(self.pid, self.ticks)

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
            seen = procfs.look(self.pid)
            if seen is None or seen.has_ended or seen.start_ticks != self.ticks:
                return not state
            if seen.state == state:
                return True
            assert time.monotonic() < deadline, f"pid {self.pid} is still {seen.state!r} after {PATIENCE_S} s"
            time.sleep(0.002)

    def signal(self, signum: signal.Signals) -> None:
        procfs.send(self.pid, self.ticks, signum)

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
        number, actor, parent = json.loads(self._forks.stdout.readline())
        while number != self._count:  # the answer to an order of a test that was cut off
            number, actor, parent = json.loads(self._forks.stdout.readline())
        process = Process(actor[0], actor[1], said, None if parent is None else Process(parent[0], parent[1], said))
        self.started.append(process)
        return process

    def end_actors(self) -> None:
        for process in self.started:
            process.signal(signal.SIGKILL)
            if process.parent is not None:
                process.parent.signal(signal.SIGKILL)
        self.started.clear()

    def end(self) -> None:
        self.end_actors()
        assert self._forks.stdin is not None and self._forks.stdout is not None
        self._forks.stdin.close()
        self._forks.wait(30)
        self._forks.stdout.close()
