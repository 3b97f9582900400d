"""Requests that land late: git is slow while somebody asks for it, and tells who sent what."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.chaos.arena import LateGit, write_git
from tests.chaos.late import LateRequests


def test_a_move_of_a_ref_waits_and_names_its_sender_only_while_it_is_asked_for(tmp_path: Path) -> None:
    late = LateGit(tmp_path / "late", tmp_path / "senders")
    late.senders.mkdir()
    git = write_git(tmp_path / "bin", late) / "git"
    subprocess.run([git, "init", "-q", str(tmp_path / "r")], check=True)
    requests = LateRequests(late)
    _seconds_of(git, tmp_path / "r")
    assert list(late.senders.iterdir()) == []
    requests.begin(2.0)
    assert _seconds_of(git, tmp_path / "r") >= 2.0
    assert requests.sender() == os.getpid()
    assert requests.sender() is None
    requests.end()
    assert not late.flag.exists()


def _seconds_of(git: Path, repository: Path) -> float:
    began = time.monotonic()
    subprocess.run([git, "update-ref", "--stdin"], cwd=repository, input=b"", check=True)
    return time.monotonic() - began
