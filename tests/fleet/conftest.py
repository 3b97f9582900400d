"""A supervisor process over dummy services, to be broken by tests."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.embedded.child import spawn
from orchestrator.fleet.identity import identify
from orchestrator.fleet.record import Entry, read_record, record_path

ROOT = Path(__file__).resolve().parents[2]


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Poll until ``condition`` holds; fail with ``what`` when it does not in time."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether no living process has that pid."""
    return identify(pid) is None


class DummyFleet:
    """Drives `tests.fleet.dummy_fleet` in a process of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.log = data_dir / "supervisor.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._processes[-1]

    def start(self, *services: str, until: str = "all ready") -> None:
        """Start a supervisor over ``name:behaviour:rank`` and wait until it has said ``until``."""
        argv = [sys.executable, "-m", "tests.fleet.dummy_fleet", str(self.data_dir), *services]
        self._processes.append(spawn(argv, env={"PATH": "/usr/bin:/bin"}, log=self.log, cwd=ROOT))
        self.wait_for(until)

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.reports(), f"{text!r} was not reported")

    def reports(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def events(self) -> list[str]:
        path = self.data_dir / "events"
        return path.read_text().splitlines() if path.exists() else []

    def event(self, beginning: str) -> str:
        """The rest of the first event that begins so, once there is one."""
        wait_until(lambda: any(line.startswith(beginning) for line in self.events()), f"no event {beginning!r}")
        return next(line for line in self.events() if line.startswith(beginning)).removeprefix(beginning).strip()

    def entry(self, name: str) -> Entry:
        record = read_record(record_path(self.data_dir))
        assert record is not None
        entry = record.entry(name)
        assert entry is not None
        return entry

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[DummyFleet]:
    """A fleet of dummies; its supervisor is killed at the end of the test, and the kernel ends the rest."""
    made = DummyFleet(tmp_path)
    yield made
    made.end()
