"""The detached deployer of tests: the real entry, with the git of a bare repository and nudges that end in a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from orchestrator import deploy_main
from orchestrator.adapters.git import GitWorkspaces
from orchestrator.settings import Settings


class WrittenNudges:
    """Each nudge is a line of ``file``."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def _write(self, line: str) -> None:
        with self._file.open("a") as file:
            file.write(f"{line}\n")

    def drive(self, task_id: int, work_item: str, actor: str) -> None:
        self._write(f"drive {work_item} by {actor}")

    def launch_agent(self, node: str, job_id: int, work_item: str) -> None:
        raise AssertionError("a deployer launches no agent")

    stop_agent = finish_job = launch_agent

    def finalize_deploys(self) -> None:
        self._write("finalize_deploys")


def wire(settings: Settings) -> deploy_main.DeployParts:
    remote = os.environ["DEPLOY_TEST_REMOTE"]

    def workspaces(project: str) -> GitWorkspaces:
        return GitWorkspaces(settings.data_dir, project, remote, "main", settings.basic_environment)

    nudges = WrittenNudges(settings.data_dir / "nudges")
    return deploy_main.deploy_parts(settings, workspaces=workspaces, nudges=nudges)


if __name__ == "__main__":
    sys.exit(deploy_main.main(sys.argv, wire))
