"""What the merge lane takes for its own work on a branch: the commits that the ledger names, and no others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import TransientError
from orchestrator.domain.lane_merges import merge_message
from orchestrator.domain.stages import Actor, Stage
from orchestrator.engine.drive import drive
from orchestrator.ports import Forge
from orchestrator.store import switches
from tests.engine.real_engine import World, git, make_world
from tests.engine.staged import Drives, Staged, reached, said, staged


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> World:
    return make_world(tmp_path, database_url, 'test: ["true"]\n')


def trailer_of(world: World, task: Staged) -> str:
    """The message that our own lane merge would have: anybody who can read the base branch can copy its form."""
    view = world.engine.view(task.task_id, world.engine.project("DEMO").config)
    assert view is not None
    return merge_message(view)


def push_to(world: World, tmp_path: Path, branch: str, sha: str) -> None:
    git(tmp_path / f"clone-{branch.removeprefix('orch/')}", "push", "-q", "origin", f"{sha}:refs/heads/{branch}")


def forged_merge(world: World, tmp_path: Path, task: Staged, *, content: str) -> str:
    """A merge of the judged head and the base with our trailer and a file that nobody reviewed."""
    clone = tmp_path / f"clone-{task.work_item}"
    (clone / "unseen.py").write_text(content)
    git(clone, "add", "-A")
    tree = git(clone, "write-tree")
    base = world.git("rev-parse", "main")
    return git(clone, "commit-tree", tree, "-p", base, "-p", task.head, "-m", trailer_of(world, task))


def forged_base(world: World, tmp_path: Path, task: Staged) -> str:
    """A clean merge with our trailer, whose first parent is not the base branch but a commit that nobody reviewed."""
    clone = tmp_path / f"clone-{task.work_item}"
    git(clone, "checkout", "-q", "-b", "elsewhere", "origin/main")
    (clone / "unseen.py").write_text("SEEN = False\n")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "Not seen")
    tree = git(clone, "merge-tree", "--write-tree", "elsewhere", task.head)
    elsewhere = git(clone, "rev-parse", "elsewhere")
    return git(clone, "commit-tree", tree, "-p", elsewhere, "-p", task.head, "-m", trailer_of(world, task))


@pytest.mark.parametrize("kind", ["tree", "first parent"])
def test_a_merge_that_somebody_else_made_with_our_trailer_is_not_taken_for_ours(
    world: World, tmp_path: Path, kind: str
) -> None:
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    forged = (
        forged_merge(world, tmp_path, task, content="SEEN = False\n")
        if kind == "tree"
        else forged_base(world, tmp_path, task)
    )
    push_to(world, tmp_path, f"orch/{task.work_item}", forged)
    drive(world.engine, task.task_id, Actor.MONITOR)
    assert "unseen.py" not in world.git("ls-tree", "--name-only", "main")
    assert world.stage(task.work_item) == "development"
    [evidence] = world.rows("SELECT evidence FROM gate_results WHERE outcome = 'fail'")
    assert forged[:12] in evidence[0] and task.head[:12] in evidence[0]


@dataclass
class BaseMovesFirst:
    """The forge, seen through an evil hour: before the first merge lands a person's push moves the base branch."""

    forge: Forge
    repository: Path
    moves: int = 1

    def __getattr__(self, name: str) -> object:
        return getattr(self.forge, name)

    def merge_pull_request(self, number: int, *, expected_head: str, message: str) -> None:
        if self.moves:
            self.moves -= 1
            tree = git(self.repository, "rev-parse", "main^{tree}")
            commit = git(self.repository, "commit-tree", tree, "-p", "main", "-m", "By hand")
            git(self.repository, "update-ref", "refs/heads/main", commit)
            raise TransientError("no answer")
        self.forge.merge_pull_request(number, expected_head=expected_head, message=message)


def test_our_own_candidate_that_the_base_overtook_is_built_upon(world: World, tmp_path: Path) -> None:
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    ports = world.engine.project("DEMO")
    moving = BaseMovesFirst(ports.forge, world.repository)
    changed = replace(ports, forge=moving)  # type: ignore[arg-type]  # it passes everything else on
    world.engine = replace(world.engine, project=lambda key: changed)
    world.run_until(lambda: world.stage(task.work_item) == "done")
    assert moving.moves == 0
    assert world.rows("SELECT status FROM effects WHERE kind = 'merge_pr' ORDER BY id") == [
        ("refused",),
        ("confirmed",),
    ]
    assert "By hand" in world.git("log", "--format=%s", "main")
    assert world.rows("SELECT 1 FROM events WHERE kind = 'stage.committed' AND detail->>'to' = 'development'") == [(1,)]


def test_a_lane_that_is_closed_during_the_re_test_merges_nothing(world: World, tmp_path: Path) -> None:
    drives, go = Drives(world.environment), tmp_path / "go"
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    try:
        owner = drives.start(
            "drive", task.task_id, "monitor", 1, failpoints=f"gate.check_branch_mergeable.after=wait:{go}"
        )
        reached(go)
        with world.engine.store.transaction("test") as connection:
            switches.close_lane(connection, "DEMO/main", "DEMO-9", "it does not answer")
        go.touch()
        ended = said(owner)
    finally:
        drives.end()
    assert "lost" in str(ended) and "the production deploy of DEMO-9 failed" in str(ended)
    assert world.git("log", "--grep=Orchestrator-Effect", "main") == ""
    assert world.rows("SELECT 1 FROM effects WHERE kind = 'merge_pr'") == []
