"""Runs the command of one deployment so that somebody else can find it, wait for it or end it.

Its output goes straight to a file: a service that the command leaves behind may keep the descriptor, and must not get
an error from a pipe whose reader has left.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, assert_never

from orchestrator.adapters.deployers.deploy_files import DeployFiles
from orchestrator.domain.deploy_repair import CommandState
from orchestrator.domain.errors import ConfigurationError, TransientError
from orchestrator.domain.ownership import Liveness, Owner
from orchestrator.ports import CommandResult, Host

_KILL_S: Final = 10.0
_TICK_S: Final = 0.5
_TAIL: Final = 2000
_GATE: Final = 'read -r go && exec "$@" </dev/null'
"""The command begins only when we say so, after its identity is on disk; when we die before, it never begins."""


class DeployCommands:
    """Commands of deployments on this node."""

    def __init__(self, files: DeployFiles, host: Host) -> None:
        self._files = files
        self._host = host

    def run(
        self, deployment_id: int, argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str], timeout_s: float
    ) -> CommandResult:
        """Run ``argv`` to its end with exactly ``environment``; its process group is ended after ``timeout_s``.

        Processes that it leaves behind after an end of its own stay: a deploy command starts services.
        Raises ConfigurationError without a command, OSError and TransientError when nothing was started.
        """
        if not argv:
            raise ConfigurationError("the deploy has no command", remedy="set `command` of this environment")
        began = time.monotonic()
        child = self._start(deployment_id, argv, cwd, environment)
        timed_out = not self._wait(deployment_id, child, began + timeout_s)
        if timed_out:
            self._host.kill_group(child.pid, _KILL_S)
            child.wait(_KILL_S)
        output = self._files.tail(deployment_id, _TAIL)
        return CommandResult(child.returncode, output, time.monotonic() - began, timed_out)

    def _start(
        self, deployment_id: int, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        log = self._files.open_log(deployment_id)
        try:
            child = subprocess.Popen(
                ["/bin/sh", "-c", _GATE, "deploy", *argv],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env=dict(environment),
                start_new_session=True,
            )
        finally:
            os.close(log)
        try:
            self._files.write_command(deployment_id, self._identity(child.pid))
        except BaseException:
            child.communicate()  # the gate closes without a word: the command does not begin
            raise
        _say_go(child)
        return child

    def _identity(self, pid: int) -> Owner:
        seen = self._host.process(pid)
        if seen is None:
            raise TransientError(f"pid {pid} is gone before the command began")
        return Owner(self._host.node, self._host.boot_id, self._host.pid_ns, pid, seen.start_ticks)

    def _wait(self, deployment_id: int, child: subprocess.Popen[bytes], deadline: float) -> bool:
        """True when it ended by itself."""
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(min(left, _TICK_S))
                return True
            self._files.cap_log(deployment_id)
        return False

    def state(self, deployment_id: int) -> CommandState:
        """By identity: a pid that somebody else has now is no command of ours."""
        leader = self._files.read_command(deployment_id)
        if leader is None:
            return CommandState.NOT_STARTED
        match self._host.liveness(leader):
            case Liveness.ALIVE:
                return CommandState.RUNNING
            case Liveness.DEAD:
                return CommandState.ENDED
            case Liveness.UNKNOWN:
                return CommandState.UNKNOWN
            case never:
                assert_never(never)

    def end(self, deployment_id: int) -> bool:
        """End the command's process group and see it empty; True also when the command had ended by itself."""
        leader = self._files.read_command(deployment_id)
        if leader is None or self._host.liveness(leader) is not Liveness.ALIVE:
            return True
        return self._host.kill_group(leader.pid, _KILL_S, leader.start_ticks)


def _say_go(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(b"go\n")
        child.stdin.close()
