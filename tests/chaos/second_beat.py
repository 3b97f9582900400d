"""Another beat on the same broker and database, by mistake."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from orchestrator.embedded.child import spawn
from orchestrator.fleet.services import service_environment
from orchestrator.settings import Settings


class SecondBeat:
    """Started and ended by the adversary; ended with it in any case."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        folder = self._settings.data_dir
        argv = [sys.executable, "-m", "celery", "-A", "tasks", "beat", "--pidfile=", "-s", str(folder / "beat-2")]
        self._process = spawn(
            argv, env=service_environment(self._settings), log=folder / "logs" / "beat-2.log", cwd=Path("/")
        )

    def end(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None
