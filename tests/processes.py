"""Real processes for tests: started here, waited for with a deadline, ended however the test ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from orchestrator.adapters import procfs

T = TypeVar("T")
NAP = "import time; time.sleep(300)"
"""A program that lives until somebody ends it."""


def until(condition: Callable[[], T], timeout_s: float = 60.0) -> T:
    """What ``condition`` gives, as soon as that is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not true after {timeout_s} s: {condition}"
        time.sleep(0.01)
    return found


def python(program: str, *arguments: str) -> list[str]:
    """argv of a small Python program, without site-packages so that it starts fast."""
    return [sys.executable, "-I", "-S", "-c", program, *arguments]


class Children:
    """Processes of one test. ``end`` leaves none of them, nor of their groups."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, program: str = NAP, *arguments: str) -> subprocess.Popen[str]:
        """Run a Python program in a session of its own; its stdout is a pipe."""
        child = subprocess.Popen(python(program, *arguments), stdout=subprocess.PIPE, text=True, start_new_session=True)
        self._started.append(child)
        return child

    def end(self) -> None:
        for child in self._started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()


def first_line(child: subprocess.Popen[str]) -> str:
    """The first line it prints: it is as far as the test needs it to be."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def state_of(pid: int) -> str:
    """The state letter of that process, "" when it is gone."""
    seen = procfs.look(pid)
    return seen.state if seen else ""


def is_running(pid: int) -> bool:
    """Neither gone nor a zombie."""
    return state_of(pid) not in ("", "Z", "X")
