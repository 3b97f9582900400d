"""One fleet takes the place of another: the old one is asked once, waited for, and never cut short."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.fleet.errors import AlreadyRunningError
from orchestrator.fleet.lock import DataDirLock
from orchestrator.fleet.replacing import lock_when_free
from tests.fleet.conftest import ROOT, wait_until

HOLDER = """
import os, signal, sys, time
from pathlib import Path
from orchestrator.fleet.identity import identify, machine
from orchestrator.fleet.lock import DataDirLock
from orchestrator.fleet.record import FleetRecord, record_path, write_record
folder, obeys = Path(sys.argv[1]), sys.argv[2] == "obeys"
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
with DataDirLock(folder):
    write_record(record_path(folder), FleetRecord(machine(), identify(os.getpid()), True, ()))
    (folder / "holds").touch()
    while not asked or not obeys:
        time.sleep(0.05)
    time.sleep(1.5)  # gates that are waited for: a second request would come meanwhile
    (folder / "asked").write_text(str(len(asked)))
"""


class Holder:
    """A process that has the data directory as a supervisor has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, manners: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", HOLDER, str(self.folder), manners]
        self._processes.append(subprocess.Popen(argv, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}))
        wait_until((self.folder / "holds").exists, "the holder has the lock", 60)
        return self._processes[-1]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    made = Holder(tmp_path)
    yield made
    made.end()


def test_the_fleet_that_runs_is_asked_once_and_waited_for(holder: Holder, tmp_path: Path) -> None:
    old, said = holder.start("obeys"), list[str]()
    with lock_when_free(tmp_path, said.append, patience_s=60):
        assert old.wait(10) == 0
        with pytest.raises(AlreadyRunningError), DataDirLock(tmp_path):
            pass
    assert (tmp_path / "asked").read_text() == "1"
    assert said == [f"asked the fleet that runs here (pid {old.pid}) to stop; its agents go on"]
    with DataDirLock(tmp_path):
        pass


def test_one_that_does_not_go_is_not_pushed_aside(holder: Holder, tmp_path: Path) -> None:
    old = holder.start("stays")
    with pytest.raises(AlreadyRunningError), lock_when_free(tmp_path, lambda line: None, patience_s=1.0):
        pass
    assert old.poll() is None


def test_where_nobody_runs_nobody_is_asked(tmp_path: Path) -> None:
    said: list[str] = []
    with lock_when_free(tmp_path, said.append):
        assert said == []
