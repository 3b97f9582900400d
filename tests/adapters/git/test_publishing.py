"""Pushes: only forward, only from the value that was read, believed only when read back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from orchestrator.adapters.git import GitWorkspaces
from orchestrator.domain.errors import (
    LostRaceError,
    PermanentError,
    UsageError,
)
from tests.adapters.git.repositories import Maker, published


def test_publishing_twice_is_one_push(work: GitWorkspaces) -> None:
    head = published(work, "orch/one", {"a.py": "a"})
    work.publish("orch/one", head, None)
    assert work.branch_tip("orch/one") == head


def test_a_branch_that_moved_is_a_lost_race_and_stays(work: GitWorkspaces, make: Maker) -> None:
    first = published(work, "orch/one", {"a.py": "a"})
    other = published(make("other"), "orch/one", {"o.py": "o"})
    folder = work.prepare("orch/one")
    (folder / "b.py").write_text("b")
    mine = work.commit_all("orch/one", "mine")
    with pytest.raises(LostRaceError):
        work.publish("orch/one", mine, first)
    with pytest.raises(LostRaceError):
        work.publish("orch/one", mine, None)
    assert work.branch_tip("orch/one") == other


def test_the_remote_itself_refuses_a_branch_that_moved_after_our_look(
    work: GitWorkspaces, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = published(work, "orch/one", {"a.py": "a"})
    folder = work.prepare("orch/one")
    (folder / "b.py").write_text("b")
    mine = work.commit_all("orch/one", "mine")
    rival = make("other")
    looked = work.is_ancestor

    def look_then_be_overtaken(ancestor: str, descendant: str) -> bool:
        answer = looked(ancestor, descendant)
        published(rival, "orch/one", {"o.py": "o"})
        return answer

    monkeypatch.setattr(work, "is_ancestor", look_then_be_overtaken)
    with pytest.raises(LostRaceError):
        work.publish("orch/one", mine, first)
    tip = work.branch_tip("orch/one")
    assert tip is not None
    assert work.read_file(tip, "o.py") == b"o"


def test_of_many_publishers_one_wins(make: Maker) -> None:
    makers = [make(f"node{number}") for number in range(4)]
    heads = []
    for number, one in enumerate(makers):
        (one.prepare("orch/one") / "who").write_text(str(number))
        heads.append(one.commit_all("orch/one", f"by {number}"))
    start = threading.Barrier(len(makers))
    outcomes: list[str] = []

    def publish(one: GitWorkspaces, head: str) -> None:
        start.wait()
        try:
            one.publish("orch/one", head, None)
            outcomes.append(head)
        except LostRaceError:
            outcomes.append("lost")

    threads = [threading.Thread(target=publish, args=pair) for pair in zip(makers, heads, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes).count("lost") == 3
    assert makers[0].branch_tip("orch/one") in outcomes


def test_only_a_fast_forward_is_published(work: GitWorkspaces) -> None:
    first = published(work, "orch/one", {"a.py": "a"})
    work.remove("orch/one")
    second = published(work, "orch/two", {"b.py": "b"})
    with pytest.raises(PermanentError, match="only moves forward"):
        work.publish("orch/one", second, first)
    assert work.branch_tip("orch/one") == first


def test_the_base_branch_is_never_touched(work: GitWorkspaces) -> None:
    base = work.base_tip()
    head = published(work, "orch/one", {"a.py": "a"})
    for call in (
        lambda: work.publish("main", head, base),
        lambda: work.prepare("main"),
        lambda: work.move_aside("main", base),
    ):
        with pytest.raises(UsageError, match="base branch"):
            call()
    assert work.base_tip() == base


def test_a_refusal_of_the_forge_is_final_and_quoted(work: GitWorkspaces, remote: Path) -> None:
    hook = remote / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho 'rule 7 forbids it' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(PermanentError, match="rule 7 forbids it"):
        published(work, "orch/one", {"a.py": "a"})


def test_a_push_whose_answer_was_lost_counts_when_it_landed(work: GitWorkspaces, remote: Path) -> None:
    hook = remote / "hooks/post-receive"
    hook.write_text("#!/bin/sh\nkill -9 $PPID\n")
    hook.chmod(0o755)
    head = published(work, "orch/one", {"a.py": "a"})
    assert work.branch_tip("orch/one") == head


def test_a_branch_moved_aside_has_a_head_it_never_had(work: GitWorkspaces) -> None:
    old = published(work, "orch/one", {"a.py": "a"})
    new = work.move_aside("orch/one", old)
    assert work.branch_tip("orch/one") == new != old
    assert work.is_ancestor(old, new)
    assert work.tree_of(new) == work.tree_of(old)
    with pytest.raises(LostRaceError):
        work.move_aside("orch/one", old)
