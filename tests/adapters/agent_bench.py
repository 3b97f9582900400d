"""``LocalAgentRuns`` on a base directory of a test, with agents that are small Python programs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.adapters import procfs
from orchestrator.adapters.agent_runs import LocalAgentRuns
from orchestrator.adapters.agents.command import CommandAgent
from orchestrator.adapters.agents.sandbox import Sandboxes
from orchestrator.adapters.host import LinuxHost
from orchestrator.adapters.run_directory import marker_of
from orchestrator.adapters.shim_agent import adopt_orphans
from orchestrator.domain.configuration import AgentSpec, Sandbox
from orchestrator.domain.runs import RunExit
from orchestrator.domain.stages import Stage
from orchestrator.ports import AgentRequest
from tests.processes import NAP, python, until


class Bench:
    """A base directory, a worktree, and requests for runs there; ends whatever a test started."""

    def __init__(self, directory: Path, sandboxes: Sandboxes | None = None) -> None:
        self.sandboxes = sandboxes
        adopt_orphans()  # see ShimRun
        self.base, self.worktree = directory / "runs", directory / "worktree"
        self.worktree.mkdir()
        self.runs = self.fresh()
        self._requests: list[AgentRequest] = []

    def fresh(self) -> LocalAgentRuns:
        """What a worker that was just started has: the base directory and nothing else."""
        return LocalAgentRuns(
            self.base, host=LinuxHost("here"), clis={"command": CommandAgent()}, sandboxes=self.sandboxes
        )

    def request(
        self, program: str = NAP, *, prompt: str = "", environment: Mapping[str, str] | None = None, **spec: Any
    ) -> AgentRequest:
        run_id = uuid.uuid4().hex
        made = AgentRequest(
            run_id=run_id,
            run_dir=self.base / run_id,
            worktree=self.worktree,
            prompt=prompt,
            spec=AgentSpec(
                command=tuple(python(program)), environment=environment or {}, **{"sandbox": Sandbox.OFF, **spec}
            ),
            stage=Stage.DEVELOPMENT,
        )
        self._requests.append(made)
        return made

    def agent_pid(self, request: AgentRequest) -> int:
        return int(json.loads((request.run_dir / "shim.json").read_text())["agent_pgid"])

    def ended(self, request: AgentRequest) -> RunExit:
        found = until(lambda: self.runs.exit_record(request.run_dir), 15)
        assert found is not None
        return found

    def end(self) -> None:
        for request in self._requests:
            owner = self.runs.owner(request.run_dir)
            if owner:
                procfs.send(owner.pid, owner.start_ticks, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(owner.pid, 0)
            procfs.sweep(procfs.Traces(marker_of(request.run_id)), 5.0)
