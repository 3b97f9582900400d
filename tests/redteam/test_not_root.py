"""The sandbox, and what holds without it, for a user that is not root: as root both are another thing to the kernel.

Root becomes ``nobody`` for these; anybody else stays who they are.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.domain.configuration import Sandbox
from tests.redteam.table import FAILS, NOT_ROOT, SUCCEEDS, table

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("another_user.py")
TOLD = (
    "read the environment of a worker",
    "read the memory of a worker",
    "trace a worker",
    "signal a worker",
    "trace its shim",
    "signal its shim",
    "read a secret file",
    "put a hook into its repository",
    "change the configuration of its repository",
    "put another repository in the place of its own",
)
"""Attempts whose targets a run alone has, without a project around it."""


def _become() -> list[str]:
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory of that user, where it can get to; the directories of pytest are the suite's own."""
    made = Path(tempfile.mkdtemp(prefix="orch-red-"))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(made, nobody.pw_uid, -1)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def _environment() -> dict[str, str]:
    """The packages of this installation, also for an interpreter that is not its own."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(psutil.__file__).parents[1])}


def _interpreter() -> str:
    """One that this user may start, and that may start itself again: ours may lie in the home of root."""
    program = f"import subprocess, sys; sys.path.insert(0, {str(ROOT)!r}); import orchestrator.adapters.agent_runs;"
    program += "subprocess.run([sys.executable, '-c', ''], check=True)"
    for one in (sys.executable, "/usr/bin/python3"):
        tried = [*_become(), one, "-B", "-c", program]
        if not subprocess.run(tried, cwd="/", env=_environment(), capture_output=True).returncode:
            return one
    pytest.skip(f"nobody can start neither {sys.executable} nor a Python 3.11 of the system")


def _run(place: Path, mode: Sandbox) -> dict[str, Any]:
    root = place / str(mode)
    subprocess.run([*_become(), "mkdir", str(root)], check=True)
    done = subprocess.run(
        [*_become(), _interpreter(), "-B", str(DRIVER), str(root), str(mode)],
        env={**_environment(), "HOME": str(root)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    if "problem" in told:
        pytest.skip(f"no sandbox for a user that is not root: {told['problem']}")
    assert told["user"] != 0
    return dict(told["got"])


def test_in_the_sandbox_of_another_user_the_attempts_fail_too(place: Path) -> None:
    got = _run(place, Sandbox.REQUIRED)
    assert {name: got[name]["said"] for name in TOLD if got[name]["got"]} == {}
    assert {table()[name][0] for name in TOLD} == {FAILS}


def test_without_one_workers_and_shims_keep_their_secrets_from_their_own_user(place: Path) -> None:
    got = _run(place, Sandbox.OFF)
    expected = {name: table()[name][1] == SUCCEEDS for name in TOLD}
    assert {name: got[name]["got"] for name in TOLD} == expected, got
    assert NOT_ROOT in {table()[name][1] for name in TOLD}
