"""Commands of gates and effects, in a process group that is written down before it starts.

A subprocess outlives a SIGKILL of its owner. So the group's identity goes to the lease row first; the command itself
waits at a pipe until that row is committed, and leaves when the pipe closes without a word.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from orchestrator.domain.errors import LostRaceError, PermanentError
from orchestrator.domain.ownership import ChildGroup
from orchestrator.ports import CommandResult, Host

OUTPUT_LIMIT: Final = 32_000
"""Bytes of output that are kept: the end, where failures are named."""
_GATE: Final = 'read -r go && [ "$go" = go ] || exit 125; exec "$@" </dev/null'
_END_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class LeasedChildren:
    """Runs commands under one lease. ``announce`` commits the group to the lease row; False: the lease is gone."""

    host: Host
    announce: Callable[[ChildGroup | None], bool]
    environment: Mapping[str, str]

    def run(
        self, argv: Sequence[str], *, cwd: Path, timeout_s: float, environment: Mapping[str, str] | None = None
    ) -> CommandResult:
        """Run ``argv`` without a shell in ``cwd``; its whole group is ended afterwards, also after a time-out.

        Raises LostRaceError when the lease was taken away before it started, PermanentError when there is no argv.
        """
        if not argv:
            raise PermanentError("an empty command cannot be run", remedy="name it in .orchestrator.yml")
        with TemporaryFile() as output:
            began = time.monotonic()
            process, gate = self._start(argv, cwd, {**self.environment, **(environment or {})}, output)
            try:
                self._announce(process, gate)
                timed_out = _wait(process, timeout_s)
            finally:
                os.close(gate)
                self._end(process)
            return CommandResult(
                exit_code=process.returncode,
                output=_tail(output),
                duration_s=time.monotonic() - began,
                timed_out=timed_out,
            )

    def _start(
        self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str], output: IO[bytes]
    ) -> tuple[subprocess.Popen[bytes], int]:
        read_end, write_end = os.pipe()
        try:
            # The gate is its stdin: a shell need not know descriptors above 9, and a worker's pipes lie above that.
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GATE, "sh", *argv],
                cwd=cwd,
                env=dict(environment),
                stdin=read_end,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        return process, write_end

    def _announce(self, process: subprocess.Popen[bytes], gate: int) -> None:
        seen = self.host.process(process.pid)
        group = None if seen is None else ChildGroup(process.pid, seen.start_ticks)
        if group is None or not self.announce(group):
            raise LostRaceError("the lease was taken away before a command could start")
        os.write(gate, b"go\n")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End what is left of the group: also after a normal end, since a command may leave others behind."""
        # Before the leader is reaped: until then nobody else can get its number.
        ended = self.host.kill_group(process.pid, _END_S)
        process.wait(_END_S)
        if ended:
            self.announce(None)


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return True
    return False


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT_LIMIT))
    return output.read().decode("utf-8", "replace")
