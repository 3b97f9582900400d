"""Worktrees: from the remote's tip, back to a commit, whatever an agent or a crash left."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.adapters.git import GitWorkspaces
from orchestrator.domain.errors import (
    NotFoundError,
    UsageError,
)
from orchestrator.ports import Workspaces
from tests.adapters.git.repositories import commit, git, published


def test_it_is_a_workspaces_port(work: GitWorkspaces) -> None:
    port: Workspaces = work
    assert port.worktrees() == []


def test_a_new_branch_begins_at_the_base_branch(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    assert folder == work.path_of("orch/one")
    assert (folder / "app.py").read_text() == "one\n"
    assert git(folder, "rev-parse", "HEAD") == work.base_tip()
    assert git(folder, "branch", "--show-current") == "orch/one"
    assert git(folder, "status", "--porcelain") == ""
    assert work.branch_tip("orch/one") is None
    assert work.worktrees() == ["orch/one"]


def test_an_existing_branch_is_taken_at_the_tip_of_the_remote(work: GitWorkspaces, person: Path) -> None:
    git(person, "checkout", "-q", "-b", "orch/one")
    sha = commit(person, {"new.py": "x"})
    git(person, "push", "-q", "origin", "orch/one")
    assert git(work.prepare("orch/one"), "rev-parse", "HEAD") == sha
    assert work.branches() == {"main": work.base_tip(), "orch/one": sha}


def test_what_an_agent_left_is_committed_with_its_own_commits_below(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    own = commit(folder, {"a.py": "a"}, "agent's own")
    (folder / "b.py").write_text("b")
    (folder / "app.py").unlink()
    head = work.commit_all("orch/one", "the rest\n\nOrch-Run: 7")
    assert set(work.list_files(head)) == {".gitignore", "a.py", "b.py"}
    assert [sha for sha, _parents in work.first_parents(head, 2)] == [head, own]
    assert "Orch-Run: 7" in work.commit_message(head)
    newest, older = work.history(head, 2)
    assert (newest.sha, newest.parents, newest.tree) == (head, (own,), work.tree_of(head))
    assert (newest.message, older.message) == (work.commit_message(head), work.commit_message(own))
    assert work.commit_all("orch/one", "again") == head


def test_the_head_stays_when_nothing_was_left(work: GitWorkspaces) -> None:
    work.prepare("orch/one")
    assert work.commit_all("orch/one", "nothing") == work.base_tip()


def test_a_merge_that_an_agent_made_keeps_both_parents(work: GitWorkspaces, person: Path) -> None:
    published(work, "orch/one", {"a.py": "a"})
    base = commit(person, {"m.py": "m"})
    git(person, "push", "-q", "origin", "main")
    folder = work.prepare("orch/one")
    git(folder, "merge", "-q", "--no-edit", "origin/main")
    assert work.is_ancestor(base, work.commit_all("orch/one", "merged"))


def test_an_agent_that_rewrote_history_still_gives_a_fast_forward(work: GitWorkspaces) -> None:
    first = published(work, "orch/one", {"a.py": "a"})
    folder = work.prepare("orch/one")
    git(folder, "commit", "-q", "--amend", "-m", "rewritten")
    (folder / "b.py").write_text("b")
    head = work.commit_all("orch/one", "on")
    assert work.is_ancestor(first, head)
    work.publish("orch/one", head, first)


@pytest.mark.parametrize("damage", ["remove", "link", "junk", "branch"])
def test_files_are_committed_whatever_an_agent_did_to_its_repository(work: GitWorkspaces, damage: str) -> None:
    folder = work.prepare("orch/one")
    (folder / "b.py").write_text("b")
    match damage:
        case "branch":
            git(folder, "checkout", "-q", "--orphan", "elsewhere")
        case "junk":
            (folder / ".git/HEAD").write_text("junk")
        case _:
            (folder / ".git").rename(folder.parent / ".moved")
    if damage == "link":
        (folder / ".git").symlink_to(folder.parent / ".moved")
    head = work.commit_all("orch/one", "work")
    assert work.read_file(head, "b.py") == b"b"
    assert git(work.prepare("orch/one"), "status", "--porcelain") == ""


def test_files_of_a_run_are_never_committed(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    (folder / ".orchestrator").mkdir()
    (folder / ".orchestrator/verdict.json").write_text("{}")
    (folder / ".git/info/exclude").write_text("")
    assert work.commit_all("orch/one", "nothing") == work.base_tip()


def test_preparing_again_mends_everything_that_was_left(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    (folder / "app.py").write_text("changed")
    (folder / "stray.py").write_text("stray")
    (folder / "nested").mkdir()
    git(folder / "nested", "init", "-q")
    (folder / "cache").mkdir()
    (folder / "cache/kept").touch()
    assert work.prepare("orch/one") == folder
    assert (folder / "app.py").read_text() == "one\n"
    assert not (folder / "stray.py").exists()
    assert not (folder / "nested").exists()
    assert (folder / "cache/kept").exists()


def test_preparing_again_works_when_an_agent_took_the_rights_away(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    (folder / "locked").mkdir()
    (folder / "locked/file").touch()
    (folder / "locked").chmod(0)
    work.prepare("orch/one")
    assert not (folder / "locked").exists()


@pytest.mark.parametrize("left", ["nothing", "half", "lock", "graves", "file", "link"])
def test_preparing_succeeds_after_a_crash_between_any_steps(work: GitWorkspaces, tmp_path: Path, left: str) -> None:
    folder = work.path_of("orch/one")
    if left != "nothing":
        work.prepare("orch/one")
    mirror = tmp_path / "node/mirrors/ORCH.git"
    match left:
        case "half":
            (folder / ".git").rename(folder / ".git.new")
            (folder / "app.py").unlink()
        case "lock":
            (mirror / "refs/heads/orch/one.lock").touch()
            (mirror / "packed-refs.lock").touch()
            (mirror / "refs/remotes/origin/main.lock").touch()
        case "graves":
            (folder.parent / ".discarded-1/x").mkdir(parents=True)
        case "file" | "link":
            folder.rename(folder.parent / ".moved")
            folder.touch() if left == "file" else folder.symlink_to(tmp_path)
    assert git(work.prepare("orch/one"), "status", "--porcelain") == ""
    assert (folder / "app.py").read_text() == "one\n"
    assert not (folder.parent / ".discarded-1").exists()


def test_removing_twice_is_one_removal(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    (folder / "locked").mkdir(mode=0o500)
    work.remove("orch/one")
    work.remove("orch/one")
    assert not work.exists("orch/one")
    assert work.worktrees() == []
    with pytest.raises(NotFoundError):
        work.commit_all("orch/one", "nothing")


def test_removing_what_never_was_is_success(work: GitWorkspaces) -> None:
    work.remove("orch/never")


def test_branch_names_with_and_without_slashes_do_not_meet(work: GitWorkspaces) -> None:
    work.prepare("a/b")
    work.prepare("a-b")
    assert work.worktrees() == ["a-b", "a/b"]


@pytest.mark.parametrize(
    "branch", ["-f", "--upload-pack=touch", "a..b", "a b", "", "HEAD", "a/../b", "../x", "a.lock", "~", "a\nb", "a:b"]
)
def test_a_branch_name_that_is_an_option_or_no_name_is_refused(work: GitWorkspaces, branch: str) -> None:
    for call in (work.prepare, work.branch_tip, work.remove, work.path_of):
        with pytest.raises(UsageError):
            call(branch)
    with pytest.raises(UsageError):
        work.publish(branch, "0" * 40, None)


@pytest.mark.parametrize("sha", ["HEAD", "--all", "main", "abc", ""])
def test_anything_but_a_full_sha_is_refused(work: GitWorkspaces, sha: str) -> None:
    with pytest.raises(UsageError):
        work.read_file(sha, "app.py")
    with pytest.raises(UsageError):
        work.build_merge(sha, sha, "merge")
