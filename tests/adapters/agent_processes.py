"""A run directory with the real shim in it, and agents that are small Python programs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from orchestrator.adapters import procfs, shim
from orchestrator.adapters.run_directory import MARKER, marker_of
from orchestrator.adapters.shim_agent import Request, adopt_orphans
from tests.processes import NAP, python, until

DAEMON = """
import os, sys
def daemon(environment, program):
    "Leave session, parent, group, output and (if asked) environment behind, as a badly behaved server does."
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open("/dev/null", os.O_RDWR)
        [os.dup2(null, fd) for fd in (0, 1, 2)]
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", program], environment)
    os.wait()
"""


def sleeper(tmp_path: Path, name: str) -> str:
    """A program that leaves its pid in ``tmp_path/name`` and then sleeps."""
    target = str(tmp_path / name)
    return (
        f"import os; f = open({target!r} + '.t', 'w'); f.write(str(os.getpid())); f.close(); "
        f"os.rename(f.name, {target!r}); {NAP}"
    )


def pid_in(path: Path) -> int:
    """The pid that a ``sleeper`` left."""
    until(path.exists)
    return int(path.read_text())


class ShimRun:
    """One run directory under the real shim."""

    def __init__(self, directory: Path) -> None:
        adopt_orphans()  # so that the shims can be reaped here: the first process of a container often reaps nothing
        self.run_id = uuid.uuid4().hex
        self.dir = directory / self.run_id
        self.dir.mkdir()

    def request(self, program: str, **changes: Any) -> dict[str, Any]:
        base = Request(
            run_id=self.run_id,
            node="here",
            argv=python(program),
            cwd=str(self.dir),
            env={"PATH": os.defpath, MARKER: self.run_id},
            wall_clock_s=60,
            silence_s=60,
            output_cap=1_000_000,
            gentle_signal=signal.SIGTERM,
            grace_s=5,
            file_size_limit=0,
        )
        return {**base._asdict(), **changes}

    def start(self, program: str = NAP, *, prompt: bytes = b"", **changes: Any) -> None:
        (self.dir / "prompt.md").write_bytes(prompt)
        (self.dir / "request.json").write_text(json.dumps(self.request(program, **changes)))
        assert self.launch() == 0

    def launch(self) -> int:
        """Start a shim here; the exit code of its first process."""
        arguments = [sys.executable, "-I", "-S", shim.__file__, str(self.dir)]
        with (self.dir / "shim.log").open("ab") as log:
            return subprocess.run(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={}, timeout=10
            ).returncode

    def identity(self) -> dict[str, Any]:
        return dict(self._json("shim.json"))

    def exit(self, timeout_s: float = 60.0) -> dict[str, Any]:
        until((self.dir / "exit.json").exists, timeout_s)
        return dict(self._json("exit.json"))

    def _json(self, name: str) -> Any:
        until((self.dir / name).exists)
        return json.loads((self.dir / name).read_text())

    def run(self, program: str, **options: Any) -> dict[str, Any]:
        """Start and wait for the exit record."""
        self.start(program, **options)
        return self.exit()

    def stdout(self) -> str:
        return (self.dir / "stdout.log").read_text()

    def end(self) -> None:
        """However the test went, nothing of it is left."""
        with contextlib.suppress(FileNotFoundError):
            stored = json.loads((self.dir / "shim.json").read_text())
            procfs.send(stored["pid"], stored["start_ticks"], signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(stored["pid"], 0)
        procfs.sweep(procfs.Traces(marker_of(self.run_id)), 5.0)
