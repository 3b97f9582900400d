"""The merge effect on a real repository, the built-in forge and real workspaces: what git shows is what counts."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator import failpoints
from orchestrator.adapters.forges.bare_repository import create_repository
from orchestrator.adapters.forges.local import LocalForge
from orchestrator.adapters.git import GitWorkspaces
from orchestrator.domain.errors import LostRaceError
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import EffectStatus
from orchestrator.effects import EFFECTS
from orchestrator.effects.contract import Landed
from orchestrator.engine.effects import EffectRefused
from orchestrator.failpoints import FailpointError
from orchestrator.ports import PullRequestState
from orchestrator.store.database import Store
from tests.adapters.git.repositories import commit, git
from tests.effects.world import World, make_world

MERGE = EffectKind.MERGE_PR


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}


@dataclass
class Git:
    """The bare repository, and a clone of a person who works beside us."""

    world: World
    bare: Path
    person: Path

    def tip(self, branch: str) -> str:
        return git(self.bare, "rev-parse", branch)

    def push(self, branch: str, start: str | None = None) -> str:
        """A person commits on ``branch`` (made from ``start`` when new) and pushes."""
        git(self.person, "fetch", "-q", "origin")
        git(self.person, "checkout", "-q", "-B", branch, start or f"origin/{branch}")
        made = commit(self.person, {f"{uuid.uuid4().hex}.txt": "x"})
        git(self.person, "push", "-q", "origin", branch)
        return made


@pytest.fixture
def real(shared_store: Store, tmp_path: Path) -> Git:
    """A task in ``deploy-staging`` with a judged head and an open pull request, all in real git."""
    bare, person, world = tmp_path / "bare.git", tmp_path / "person", make_world(shared_store)
    create_repository(bare, "main", _environment)
    git(tmp_path, "clone", "-q", str(bare), str(person))
    git(person, "checkout", "-q", "-B", "main")
    commit(person, {"app.py": "1"})
    git(person, "push", "-q", "origin", "main")
    world.real_forge = LocalForge(shared_store, world.project, bare, "main", _environment)
    world.real_workspaces = GitWorkspaces(tmp_path / "node", world.project, str(bare), "main", _environment)
    made = Git(world, bare, person)
    head = made.push(world.branch, start="origin/main")
    made.push("main")
    world.set_task(head_sha=head)
    world.open_request()
    return made


def forge_state(world: World) -> PullRequestState:
    assert world.real_forge is not None
    return world.real_forge.pull_request(1).state


def merges(real: Git) -> int:
    """How many merge commits of this task the base branch has."""
    trailer = f"Orchestrator-Effect: {real.world.task_id}/"
    return len(git(real.bare, "log", "--format=%H", f"--grep={trailer}", "main").split())


def test_the_tested_commit_is_what_the_base_becomes(real: Git) -> None:
    candidate = real.world.candidate()
    result = real.world.run(MERGE, edge=real.world.forward, candidate=candidate)
    assert result == {"merge_sha": candidate.commit_sha}
    assert real.tip("main") == real.tip(real.world.branch) == candidate.commit_sha
    assert git(real.bare, "rev-parse", "main^{tree}") == candidate.tree_sha
    assert forge_state(real.world) is PullRequestState.MERGED


@pytest.mark.parametrize("moment", ["claimed", "looked", "sent", "answered", "confirmed"])
def test_an_owner_that_dies_leaves_one_merge(real: Git, moment: str) -> None:
    candidate = real.world.candidate()
    failpoints.arm(f"effect.merge_pr.{moment}=raise")
    with pytest.raises(FailpointError):
        real.world.run(MERGE, edge=real.world.forward, candidate=candidate)
    for _ in range(2):
        real.world.run(MERGE, edge=real.world.forward, candidate=candidate)
    assert (merges(real), real.tip("main")) == (1, candidate.commit_sha)
    assert real.world.status(MERGE) is EffectStatus.CONFIRMED


def test_a_successor_builds_the_same_candidate_and_so_finds_the_claim(real: Git) -> None:
    first, second = real.world.candidate(), real.world.candidate()
    assert first == second


def test_a_merge_cut_off_between_git_and_the_record_is_settled_and_not_repeated(real: Git) -> None:
    world, candidate = real.world, real.world.candidate()
    context = world.context(MERGE, edge=world.forward, candidate=candidate)
    assert world.real_workspaces is not None
    world.real_workspaces.publish(world.branch, candidate.commit_sha, candidate.head_sha)
    git(real.bare, "update-ref", "refs/heads/main", candidate.commit_sha, candidate.base_sha)
    assert EFFECTS[MERGE].look(context) == Landed({"merge_sha": candidate.commit_sha}, unsettled=True)
    EFFECTS[MERGE].act(context, world.enter())
    assert EFFECTS[MERGE].look(context) == Landed({"merge_sha": candidate.commit_sha})
    assert (merges(real), forge_state(world)) == (1, PullRequestState.MERGED)


def test_a_base_that_moved_is_refused_and_the_next_candidate_lands(real: Git) -> None:
    world, candidate = real.world, real.world.candidate()
    theirs = real.push("main")
    with pytest.raises(EffectRefused, match="base moved"):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert real.tip("main") == theirs
    again = world.candidate()
    world.run(MERGE, edge=world.forward, candidate=again)
    assert (real.tip("main"), merges(real)) == (again.commit_sha, 1)


def test_a_head_that_a_person_moved_is_refused(real: Git) -> None:
    world, candidate, before = real.world, real.world.candidate(), real.tip("main")
    theirs = real.push(world.branch)
    with pytest.raises(EffectRefused, match="head moved"):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert (real.tip("main"), real.tip(world.branch)) == (before, theirs)


@pytest.mark.parametrize("published", [False, True])
def test_a_withdrawn_merge_never_lands_afterwards(real: Git, published: bool) -> None:
    world, candidate, before = real.world, real.world.candidate(), real.tip("main")
    context = world.context(MERGE, edge=world.forward, candidate=candidate)
    failpoints.arm("effect.merge_pr.claimed=raise")
    with pytest.raises(FailpointError):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert world.real_workspaces is not None and world.real_forge is not None
    if published:
        world.real_workspaces.publish(world.branch, candidate.commit_sha, candidate.head_sha)
    assert world.withdraw() == {}
    EFFECTS[MERGE].act(context, world.enter())
    with pytest.raises(LostRaceError):
        world.real_workspaces.publish(world.branch, candidate.commit_sha, candidate.head_sha)
    with pytest.raises(LostRaceError):
        world.real_forge.merge_pull_request(1, expected_head=candidate.commit_sha, message="m")
    assert (real.tip("main"), merges(real)) == (before, 0)
    assert world.status(MERGE) is EffectStatus.REVOKED


def test_what_was_merged_by_git_alone_during_a_withdrawal_is_returned(real: Git) -> None:
    world, candidate = real.world, real.world.candidate()
    failpoints.arm("effect.merge_pr.answered=raise")
    with pytest.raises(FailpointError):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert world.withdraw()[MERGE].result == {"merge_sha": candidate.commit_sha}
    assert real.tip(world.branch) == candidate.commit_sha
