"""Merge commits: of both sides, the same on each node, never published by building."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.adapters.git import GitWorkspaces
from orchestrator.ports import MergeCandidate, MergeConflict
from tests.adapters.git.repositories import Maker, commit, git, published


def diverged(work: GitWorkspaces, person: Path, theirs: Mapping[str, str], ours: Mapping[str, str]) -> tuple[str, str]:
    head = published(work, "orch/one", ours)
    base = commit(person, theirs)
    git(person, "push", "-q", "origin", "main")
    return head, base


def test_a_merge_descends_from_both_and_holds_both(work: GitWorkspaces, person: Path) -> None:
    head, base = diverged(work, person, {"m.py": "m"}, {"a.py": "a"})
    built = work.build_merge(head, base, "Merge\n\nOrch-Effect: 42\n")
    assert isinstance(built, MergeCandidate)
    assert work.is_ancestor(head, built.commit_sha)
    assert work.is_ancestor(base, built.commit_sha)
    assert set(work.list_files(built.commit_sha)) == {".gitignore", "a.py", "app.py", "m.py"}
    assert built.tree_sha == work.tree_of(built.commit_sha)
    assert "Orch-Effect: 42" in work.commit_message(built.commit_sha)
    assert work.first_parents(built.commit_sha, 1) == [(built.commit_sha, (base, head))]
    assert work.base_tip() == base


def test_the_same_merge_built_on_another_node_is_the_same_commit(
    work: GitWorkspaces, make: Maker, person: Path
) -> None:
    head, base = diverged(work, person, {"m.py": "m"}, {"a.py": "a"})
    assert work.build_merge(head, base, "Merge") == make("other").build_merge(head, base, "Merge")
    assert work.build_merge(head, base, "Merge") != work.build_merge(head, base, "Other effect")


def test_a_merge_is_dated_by_its_newest_parent_so_that_its_name_does_not_depend_on_now(
    work: GitWorkspaces, person: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tips = []
    for moment in (1_700_000_000, 1_600_000_000):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{moment} +0530")
        git(person, "checkout", "-q", "-B", f"b{moment}", "origin/main")
        tips.append(commit(person, {f"{moment}.py": "x"}))
        git(person, "push", "-q", "origin", f"b{moment}")
    built = work.build_merge(tips[0], tips[1], "Merge")
    assert isinstance(built, MergeCandidate)
    work.publish("orch/one", built.commit_sha, None)
    git(person, "fetch", "-q", "origin")
    assert git(person, "log", "-1", "--format=%at %ct", built.commit_sha) == "1700000000 1700000000"


def test_a_conflict_names_its_files(work: GitWorkspaces, person: Path) -> None:
    head, base = diverged(work, person, {"app.py": "theirs\n"}, {"app.py": "ours\n"})
    assert work.build_merge(head, base, "Merge") == MergeConflict(("app.py",))


def test_a_branch_without_new_base_commits_still_gets_its_merge_commit(work: GitWorkspaces) -> None:
    head, base = published(work, "orch/one", {"a.py": "a"}), work.base_tip()
    built = work.build_merge(head, base, "Merge")
    assert isinstance(built, MergeCandidate)
    assert built.tree_sha == work.tree_of(head)
    assert built.commit_sha != head


def test_a_merge_is_published_on_the_head_branch_as_a_fast_forward(work: GitWorkspaces, person: Path) -> None:
    head, base = diverged(work, person, {"m.py": "m"}, {"a.py": "a"})
    built = work.build_merge(head, base, "Merge")
    assert isinstance(built, MergeCandidate)
    work.publish("orch/one", built.commit_sha, head)
    assert work.branch_tip("orch/one") == built.commit_sha
