"""One run of the agent that attacks, started by whoever runs this: argv is a directory of theirs and the sandbox.

Prints as JSON what it got. A worker with a secret in its environment stands beside it, of the same user.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.adapters.agent_runs import LocalAgentRuns
from orchestrator.adapters.agents import sandbox
from orchestrator.adapters.agents.command import CommandAgent
from orchestrator.adapters.agents.sandbox import Sandboxes
from orchestrator.adapters.host import LinuxHost
from orchestrator.domain.configuration import AgentSpec, Sandbox
from orchestrator.domain.stages import Stage
from orchestrator.ports import AgentRequest

HERE = Path(__file__).parent
SECRET = "red-team-secret"
LIMIT_S = 120.0


def main(root: Path, mode: Sandbox) -> None:
    problem = sandbox.problem()
    if problem and mode is Sandbox.REQUIRED:
        sys.stdout.write(json.dumps({"problem": problem}))
        return
    secret, worktree = root / "secrets" / "token", root / "worktree"
    secret.parent.mkdir()
    secret.write_text(SECRET)
    subprocess.run(["git", "init", "-q", str(worktree)], check=True)
    (worktree / ".git" / "hooks").mkdir(exist_ok=True)
    base = root / "data" / "runs"
    base.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, str(HERE / "hidden_worker.py")],
        env={**os.environ, "ORCH_GITEA_TOKEN": SECRET},
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    ) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"up\n"
        targets = {
            "worker": str(worker.pid),
            "runs": str(base),
            "data": str(base.parent),
            "secret_file": str(secret),
            "sprung": str(root / "sprung"),
        }
        runs = LocalAgentRuns(
            base,
            host=LinuxHost("here"),
            clis={"command": CommandAgent()},
            sandboxes=Sandboxes((base.parent,), lambda: (secret,)),
        )
        request = _request(base, worktree, mode, targets)
        runs.start(request)
        until = time.monotonic() + LIMIT_S
        while runs.exit_record(request.run_dir) is None and time.monotonic() < until:
            time.sleep(0.05)
        runs.stop(request.run_dir, 1.0)
        worker.kill()
    got = json.loads((worktree / "results.json").read_text())
    sys.stdout.write(json.dumps({"user": os.geteuid(), "got": got}))


def _request(base: Path, worktree: Path, mode: Sandbox, targets: dict[str, str]) -> AgentRequest:
    run_id = uuid.uuid4().hex
    spec = AgentSpec(
        command=(sys.executable, str(HERE / "attack.py")),
        environment={"TARGETS": json.dumps(targets)},
        sandbox=mode,
        sandbox_readable=(str(HERE),),
    )
    return AgentRequest(run_id, base / run_id, worktree, "", spec, Stage.DEVELOPMENT)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Sandbox(sys.argv[2]))
