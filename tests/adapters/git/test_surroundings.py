"""What can be wrong around git: remote, login, binary, disk, time, other processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.adapters.git import GitWorkspaces
from orchestrator.adapters.git import runner as git_runner
from orchestrator.domain.errors import (
    ConfigurationError,
    NeedsHumanError,
    OrchestratorError,
    PermanentError,
    TransientError,
)
from tests.adapters.git.repositories import Maker, is_dead, wait_until


@pytest.mark.parametrize("call", ["fetch", "base_tip", "prepare", "publish"])
def test_an_unreachable_repository_names_the_place_and_the_remedy(make: Maker, tmp_path: Path, call: str) -> None:
    work = make(url=f"{tmp_path}/gone.git")
    arguments = {"prepare": ("orch/one",), "publish": ("orch/one", "1" * 40, None)}.get(call, ())
    with pytest.raises(TransientError, match=r"gone\.git") as caught:
        getattr(work, call)(*arguments)
    assert "orchestrator.yml" in caught.value.remedy
    assert work.worktrees() == []


def test_a_password_in_an_address_is_not_repeated(make: Maker) -> None:
    with pytest.raises(OrchestratorError) as caught:
        make(url="http://me:hunter2@127.0.0.1:9/x.git").fetch()
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_refused_login_needs_a_person() -> None:
    said = "fatal: could not read Username for 'https://x': terminal prompts disabled"
    error = git_runner.remote_error("https://x", git_runner.Answer(128, b"", said))
    assert isinstance(error, NeedsHumanError)
    assert "token" in error.remedy


def test_a_repository_without_the_base_branch_says_so(make: Maker, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "empty.git"], check=True)
    work = make(url=f"{tmp_path}/empty.git")
    for call in (work.base_tip, lambda: work.prepare("orch/one")):
        with pytest.raises(PermanentError, match="has no branch main"):
            call()


def test_a_missing_git_says_what_to_install(make: Maker, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"install git 2\.38"):
        make(environment={"PATH": str(tmp_path)}).fetch()


def test_a_git_that_is_too_old_says_what_to_install(make: Maker, tmp_path: Path) -> None:
    old = tmp_path / "old/git"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho git version 2.34.1\n")
    old.chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"2\.34\.1 is too old.*2\.38"):
        make(environment={"PATH": str(old.parent)}).fetch()


def test_a_data_directory_that_cannot_be_written_is_named(make: Maker, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="ORCH_DATA_DIR"):
        make("file").fetch()


def test_a_git_that_hangs_is_ended_with_its_children(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow/git"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\n[ "$1" = version ] && {{ echo git version 2.39.0; exit; }}\n'
        f"sleep 300 & echo $! > {tmp_path}/pid\nwait\n"
    )
    slow.chmod(0o755)
    monkeypatch.setattr(git_runner, "LOCAL_TIMEOUT_S", 1.5)
    with pytest.raises(TransientError, match="longer than"):
        make(environment={"PATH": f"{slow.parent}:{os.environ['PATH']}"}).fetch()
    wait_until(lambda: is_dead(int((tmp_path / "pid").read_text())))


def test_a_lock_outlives_its_owner_as_long_as_a_git_child_works(make: Maker, tmp_path: Path) -> None:
    """A killed owner leaves a git that still writes; nobody may remove its lock files meanwhile."""
    ready, go = tmp_path / "ready", tmp_path / "go"
    slow = tmp_path / "slow/git"
    slow.parent.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True).stdout.strip()
    slow.write_text(
        # Bounded: a test that is cut off must not leave it waiting for ever.
        f'#!/bin/sh\ncase "$*" in *" fetch "*) touch {ready}; for i in $(seq 1500); do [ -e {go} ] && break; '
        f'sleep 0.02; done;; esac\nexec {real} "$@"\n'
    )
    slow.chmod(0o755)
    work = make(environment={"PATH": f"{slow.parent}:{os.environ['PATH']}"})
    owner = multiprocessing.get_context("fork").Process(target=work.fetch)
    owner.start()
    while not ready.exists():
        owner.join(0.02)
    assert owner.pid is not None
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    held = threading.Thread(target=make().fetch, daemon=True)
    held.start()
    held.join(0.3)
    assert held.is_alive()
    go.touch()
    held.join(20)
    assert not held.is_alive()


def test_processes_that_prepare_at_once_all_succeed(make: Maker) -> None:
    context = multiprocessing.get_context("fork")
    crowd = [context.Process(target=make().prepare, args=(f"orch/{number}",)) for number in range(4)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert [one.exitcode for one in crowd] == [0, 0, 0, 0]
    assert make().worktrees() == [f"orch/{number}" for number in range(4)]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX rights")
def test_what_is_made_belongs_to_this_user_alone(work: GitWorkspaces, tmp_path: Path) -> None:
    work.fetch()
    assert stat.S_IMODE((tmp_path / "node/mirrors").stat().st_mode) == 0o700
