"""A remote, somebody who works beside the orchestrator, and workspaces of any number of nodes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.adapters.git import GitWorkspaces
from tests.adapters.git.repositories import Maker, commit, git


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], check=True)
    return path


@pytest.fixture
def person(tmp_path: Path, remote: Path) -> Path:
    """A clone of somebody who works beside the orchestrator; ``main`` has one commit."""
    path = tmp_path / "person"
    subprocess.run(["git", "clone", "-q", remote, path], check=True, capture_output=True)
    git(path, "checkout", "-q", "-b", "main")
    commit(path, {"app.py": "one\n", ".gitignore": "cache/\n"})
    git(path, "push", "-q", "origin", "main")
    return path


@pytest.fixture
def make(tmp_path: Path, remote: Path, person: Path) -> Maker:
    def call(node: str = "node", url: str | None = None, environment: Mapping[str, str] | None = None) -> GitWorkspaces:
        given = environment if environment is not None else {"PATH": os.environ["PATH"]}
        return GitWorkspaces(tmp_path / node, "ORCH", url or str(remote), "main", lambda: given)

    return call


@pytest.fixture
def work(make: Maker) -> GitWorkspaces:
    return make()
