"""What every child of ours has in common."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from orchestrator.embedded.child import spawn


def test_a_child_has_a_session_exactly_the_given_environment_and_a_private_log(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    code = "import os; print(os.getsid(0) == os.getpid(), sorted(os.environ), flush=True); os.write(2, b'err')"
    child = spawn([sys.executable, "-ISc", code], env={"ONLY": "1", "LC_ALL": "C.UTF-8"}, log=log)
    assert child.wait(10) == 0
    assert log.read_text() == "True ['LC_ALL', 'ONLY']\nerr"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_child_hears_signals_that_its_parent_ignores(tmp_path: Path) -> None:
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = spawn(["/bin/sleep", "600"], env={}, log=tmp_path / "child.log")
    finally:
        signal.signal(signal.SIGINT, old)
    os.kill(child.pid, signal.SIGINT)
    assert child.wait(10) == -signal.SIGINT


def test_a_program_that_is_not_there_is_an_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spawn([str(tmp_path / "nothing")], env={}, log=tmp_path / "child.log")
