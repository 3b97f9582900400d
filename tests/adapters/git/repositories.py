"""Helpers of the git tests: what a person does with git, and a branch with work on it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.adapters.git import GitWorkspaces

IDENTITY = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")


def git(where: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", where, *IDENTITY, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(where: Path, files: Mapping[str, str], message: str = "change") -> str:
    for name, content in files.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(content)
    git(where, "add", "-A")
    git(where, "commit", "-q", "-m", message)
    return git(where, "rev-parse", "HEAD")


def is_dead(pid: int) -> bool:
    """Gone, or killed and not yet collected by whoever inherited it."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


Maker = Callable[..., GitWorkspaces]


def published(work: GitWorkspaces, branch: str, files: Mapping[str, str]) -> str:
    """A branch with one commit of an agent, at the remote."""
    old = work.branch_tip(branch)
    folder = work.prepare(branch)
    for name, content in files.items():
        (folder / name).write_text(content)
    new = work.commit_all(branch, "work")
    work.publish(branch, new, old)
    return new
