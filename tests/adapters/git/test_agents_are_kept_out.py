"""Nothing that an agent configures runs in our git, and no credential of ours reaches it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.git import GitWorkspaces
from orchestrator.ports import MergeCandidate
from tests.adapters.git.repositories import Maker, commit, git, published


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a trace when anything runs it."""
    path = tmp_path / "trap"
    path.write_text(f"#!/bin/sh\ntouch {tmp_path / 'sprung'}\ncat\n")
    path.chmod(0o755)
    return path


def test_nothing_that_an_agent_configured_runs_in_our_git(work: GitWorkspaces, trap: Path, tmp_path: Path) -> None:
    folder = work.prepare("orch/one")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in (
        "pre-commit",
        "post-commit",
        "post-checkout",
        "pre-push",
        "reference-transaction",
        "post-index-change",
    ):
        for place in (hooks, folder / ".git/hooks"):
            place.mkdir(exist_ok=True)
            (place / name).write_bytes(trap.read_bytes())
            (place / name).chmod(0o755)
    for key, value in {
        "core.hooksPath": str(hooks),
        "core.fsmonitor": str(trap),
        "filter.evil.clean": str(trap),
        "filter.evil.smudge": str(trap),
        "diff.external": str(trap),
        "merge.evil.driver": str(trap),
        "core.sshCommand": str(trap),
        "uploadpack.packObjectsHook": str(trap),
        "core.alternateRefsCommand": str(trap),
        f"url.{tmp_path}/elsewhere.insteadOf": str(tmp_path),
    }.items():
        git(folder, "config", key, value)
    (folder / ".gitattributes").write_text("* filter=evil merge=evil diff=evil\n")
    (folder / "b.py").write_text("b")
    head = work.commit_all("orch/one", "work")
    work.publish("orch/one", head, None)
    work.prepare("orch/one")
    with work.checkout(head):
        pass
    assert isinstance(work.build_merge(head, work.base_tip(), "merge"), MergeCandidate)
    assert work.branch_tip("orch/one") == head
    work.remove("orch/one")
    assert not (tmp_path / "sprung").exists()


def test_what_an_agent_configured_does_not_survive_into_the_next_run(work: GitWorkspaces) -> None:
    folder = work.prepare("orch/one")
    git(folder, "config", "core.hooksPath", "/tmp")
    (folder / ".git/hooks/pre-commit").touch()
    work.prepare("orch/one")
    assert "hooksPath" not in (folder / ".git/config").read_text()
    assert list((folder / ".git/hooks").iterdir()) == []


def test_two_worktrees_share_no_configuration(work: GitWorkspaces) -> None:
    one, two = work.prepare("orch/one"), work.prepare("orch/two")
    git(one, "config", "core.hooksPath", "/tmp")
    assert "hooksPath" not in (two / ".git/config").read_text()


def test_a_worktree_names_no_place_to_push_to(work: GitWorkspaces) -> None:
    assert git(work.prepare("orch/one"), "remote") == ""


def test_credentials_reach_the_remote_only_and_settings_of_the_user_nobody(make: Maker, tmp_path: Path) -> None:
    spy = tmp_path / "bin/git"
    spy.parent.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True).stdout.strip()
    spy.write_text(
        f'#!/bin/sh\necho "$GIT_ASKPASS|$GIT_DIR|$GIT_CONFIG_GLOBAL $*" >> {tmp_path}/seen\nexec {real} "$@"\n'
    )
    spy.chmod(0o755)
    environment = {
        "PATH": f"{spy.parent}:{os.environ['PATH']}",
        "GIT_ASKPASS": "/secret/askpass",
        "GIT_DIR": "/elsewhere",
        "GIT_CONFIG_GLOBAL": "/elsewhere",
    }
    published(make(environment=environment), "orch/one", {"a": "a"})
    lines = (tmp_path / "seen").read_text().splitlines()
    remote = [line for line in lines if "remote.git" in line]
    assert {line.split("|")[0] for line in remote} == {"/secret/askpass"}
    assert {line.split("|")[0] for line in lines if line not in remote} == {""}
    assert not any("/elsewhere" in line for line in lines)


def test_what_agents_obey_is_put_back_to_what_the_base_branch_has(work: GitWorkspaces, person: Path) -> None:
    """Committed, ignored, changed, removed or a link in its place: the next agent finds what people put there."""
    base = {".claude/settings.json": "ours", "opencode.json": "ours"}
    commit(person, {**base, ".gitignore": ".mcp.json\n"})
    git(person, "push", "-q", "origin", "main")
    folder = work.prepare("orch/two")
    assert {name: (folder / name).read_text() for name in base} == base
    (folder / ".claude/settings.json").write_text("widened")
    (folder / ".claude/hooks.json").write_text("new")
    (folder / "opencode.json").unlink()
    (folder / "opencode.json").symlink_to("code.py")
    (folder / ".gemini").mkdir()
    (folder / ".gemini/settings.json").write_text("new")
    (folder / ".mcp.json").write_text("ignored, so no commit shows it")
    (folder / "code.py").write_text("x = 1\n")
    work.publish("orch/two", work.commit_all("orch/two", "work"), None)
    again = work.prepare("orch/two", (".claude", "opencode.json", ".gemini", ".mcp.json"))
    assert {name: (again / name).read_text() for name in base} == base
    assert not (again / "opencode.json").is_symlink()
    left = {".claude", ".git", ".gitignore", "app.py", "code.py", "opencode.json"}
    assert {one.name for one in again.iterdir()} == left
    assert [one.name for one in (again / ".claude").iterdir()] == ["settings.json"]


def test_what_an_agent_changed_of_its_git_is_told_without_the_values(work: GitWorkspaces, trap: Path) -> None:
    folder = work.prepare("orch/one")
    assert work.changes_of_git("orch/one") == ()
    (folder / "b.py").write_text("b")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "an agent may commit")
    assert work.changes_of_git("orch/one") == ()
    git(folder, "config", "core.hooksPath", str(trap))
    git(folder, "config", "http.extraHeader", "Authorization: a-secret")
    git(folder, "config", "user.name", "somebody else")
    git(folder, "config", "include.path", str(trap))
    (folder / ".git/hooks/pre-push").write_bytes(trap.read_bytes())
    (folder / ".git/info/attributes").write_text("* filter=evil")
    (folder / ".git/info/exclude").write_text("")
    told = work.changes_of_git("orch/one")
    assert told == (
        ".git/config: core.hookspath",
        ".git/config: http.extraheader",
        ".git/config: include.path",
        ".git/config: user.name",
        ".git/hooks/pre-push is new",
        ".git/info/exclude was changed",
        ".git/info/attributes is new",
    )
    work.prepare("orch/one")
    assert work.changes_of_git("orch/one") == ()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda git: (git / "config").write_text("[core\n"), ".git/config cannot be read any more"),
        (lambda git: (git / "config").write_bytes(b"\xff" * 300_000), ".git/config cannot be read any more"),
        (lambda git: (git / "config").unlink(), ".git/config cannot be read any more"),
        (lambda git: git.rename(git.with_name("elsewhere")), ".git is no directory any more"),
        (lambda git: git.rename(git.with_name("e")) and git.symlink_to(git.with_name("e")), ".git is a link"),
        (lambda git: (git / "commondir").write_text("../elsewhere"), ".git/commondir is new"),
    ],
)
def test_a_repository_that_was_spoilt_is_told_too(
    work: GitWorkspaces, harm: Callable[[Path], object], told: str
) -> None:
    harm(work.prepare("orch/one") / ".git")
    assert work.changes_of_git("orch/one") == (told,)
