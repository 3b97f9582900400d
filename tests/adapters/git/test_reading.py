"""Checkouts and what stands in commits."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from orchestrator.adapters.git import GitWorkspaces
from orchestrator.domain.errors import (
    NotFoundError,
)
from tests.adapters.git.repositories import Maker, commit, git, published


def test_a_checkout_is_gone_afterwards_also_after_an_error(work: GitWorkspaces, tmp_path: Path) -> None:
    with work.checkout(work.base_tip()) as folder:
        assert (folder / "app.py").read_text() == "one\n"
        assert git(folder, "rev-parse", "HEAD") == work.base_tip()
        (folder / "ro").mkdir(mode=0o500)
    with pytest.raises(ZeroDivisionError), work.checkout(work.base_tip()):
        raise ZeroDivisionError
    assert list((tmp_path / "node/checkouts/ORCH").iterdir()) == []


def _die_in_checkout(work: GitWorkspaces) -> None:
    with work.checkout(work.base_tip()):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_checkout_of_a_killed_process_is_swept_and_a_live_one_stays(work: GitWorkspaces, tmp_path: Path) -> None:
    with work.checkout(work.base_tip()) as live:
        victim = multiprocessing.get_context("fork").Process(target=_die_in_checkout, args=(work,))
        victim.start()
        victim.join()
        assert victim.exitcode == -signal.SIGKILL
        assert len([one for one in live.parent.iterdir() if one.is_dir()]) == 2
        with work.checkout(work.base_tip()) as next_one:
            assert {one for one in live.parent.iterdir() if one.is_dir()} == {live, next_one}


def test_files_of_a_commit_are_read_as_they_are(work: GitWorkspaces, person: Path) -> None:
    (person / "link").symlink_to("/etc/passwd")
    sha = commit(person, {"sub dir/naïve.txt": "x\n\n", "[a]*": "star"})
    git(person, "push", "-q", "origin", "main")
    assert work.read_file(sha, "sub dir/naïve.txt") == b"x\n\n"
    assert work.read_file(sha, "[a]*") == b"star"
    assert work.read_file(sha, "a*") is None
    assert work.read_file(sha, "link") is None
    assert work.read_file(sha, "sub dir") is None
    assert "sub dir/naïve.txt" in work.list_files(sha)


def test_changes_are_counted_from_the_merge_base_with_both_names_of_a_renamed_file(
    work: GitWorkspaces, person: Path
) -> None:
    base = commit(person, {"old.py": "long enough to be found as a rename\n" * 5})
    git(person, "push", "-q", "origin", "main")
    git(person, "checkout", "-q", "-b", "orch/one")
    git(person, "mv", "old.py", "new.py")
    head = commit(person, {"b.py": "added\n"})
    git(person, "push", "-q", "origin", "orch/one")
    git(person, "checkout", "-q", "main")
    moved_on = commit(person, {"main.py": "m\n"})
    git(person, "push", "-q", "origin", "main")
    assert set(work.changed_files(moved_on, head)) == {"old.py", "new.py", "b.py"}
    assert "+added" in work.diff(base, head)
    assert "old.py" not in work.diff(base, head, ["b.py"])


def test_a_commit_that_is_nowhere_is_not_found(work: GitWorkspaces) -> None:
    with pytest.raises(NotFoundError):
        work.tree_of("1" * 40)


def test_commits_that_are_not_here_yet_are_fetched(make: Maker, work: GitWorkspaces) -> None:
    head = published(work, "orch/one", {"a.py": "a"})
    assert make("other").read_file(head, "a.py") == b"a"
