"""The built-in forge keeps the contract of forges; what it promises beyond stands between git and the database."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.exc import OperationalError

from orchestrator.adapters.forges.bare_repository import BareRepository, create_repository
from orchestrator.adapters.forges.local import LocalForge
from orchestrator.domain.errors import ConfigurationError, LostRaceError, PermanentError, TransientError, UsageError
from orchestrator.ports import PullRequestState
from orchestrator.store.database import Store
from tests.adapters.contracts.at_once import at_once
from tests.adapters.contracts.forge_contract import ForgeContract, ForgeWorld, head_of, opened

_NOBODY = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{role}_{part}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")},
}


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}


class LocalForgeWorld:
    """People write straight into the bare repository: what a push does, without its time."""

    def __init__(self, store: Store, project: str, path: Path) -> None:
        self._store = store
        self._project = project
        self._made = 0
        self.path = path
        create_repository(path, "main", _environment)
        self.commit("main")
        self.forge = self.another()

    def another(self) -> LocalForge:
        return LocalForge(self._store, self._project, self.path, "main", _environment)

    def commit(self, branch: str) -> str:
        self._made += 1
        parent = self.forge.branch_tip(branch) or self.forge.branch_tip("main") if self._made > 1 else None
        blob = self.git("hash-object", "-w", "--stdin", stdin=f"{branch} {self._made}\n")
        tree = self.git("mktree", stdin=f"100644 blob {blob}\tfile.txt\n")
        sha = self.git("commit-tree", tree, *(("-p", parent) if parent else ()), "-m", f"change {self._made}")
        self.git("update-ref", f"refs/heads/{branch}", sha)
        return sha

    def merge_by_hand(self, sha: str) -> None:
        self.git("update-ref", "refs/heads/main", sha)

    def commits_in(self, sha: str) -> int:
        return int(self.git("rev-list", "--count", sha))

    def git(self, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            ["git", f"--git-dir={self.path}", *arguments],
            input=stdin,
            env=_NOBODY,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


@pytest.fixture
def world(shared_store: Store, project: str, tmp_path: Path) -> LocalForgeWorld:
    return LocalForgeWorld(shared_store, project, tmp_path / "demo.git")


class TestLocalForge(ForgeContract):
    @pytest.fixture
    def world(self, shared_store: Store, project: str, tmp_path: Path) -> ForgeWorld:
        return LocalForgeWorld(shared_store, project, tmp_path / "demo.git")


# --- between git and the database --------------------------------------------------------------------------------


@pytest.fixture
def impatient(shared_store: Store) -> Iterator[Store]:
    """The same database, for a process that gives up on a locked row at once."""
    engine = sqlalchemy.create_engine(
        shared_store.engine.url, connect_args={"options": "-c lock_timeout=100"}, poolclass=sqlalchemy.NullPool
    )
    yield Store(engine)
    engine.dispose()


def test_a_merge_that_ends_between_git_and_the_database_is_shown_open_and_can_be_settled(
    world: LocalForgeWorld, shared_store: Store, impatient: Store, project: str
) -> None:
    request = opened(world)
    head = head_of(request)
    cut_off = LocalForge(impatient, project, world.path, "main", _environment)
    with shared_store.transaction() as connection:
        connection.execute(
            sqlalchemy.text("SELECT FROM local_pull_requests WHERE project = :p FOR UPDATE"), {"p": project}
        )
        with pytest.raises(OperationalError):
            cut_off.merge_pull_request(request.number, expected_head=head, message="m")
    assert world.forge.branch_tip("main") == head
    assert world.forge.pull_request(request.number).state is PullRequestState.OPEN
    base = world.commit("main")
    with pytest.raises(LostRaceError):
        world.forge.merge_pull_request(request.number, expected_head=head, message="m")
    with pytest.raises(LostRaceError, match="merged already"):
        world.forge.close_pull_request(request.number)
    world.forge.settle_pull_request(request.number, head)
    after = world.forge.pull_request(request.number)
    assert (after.state, after.merge_sha) == (PullRequestState.MERGED, head)
    assert world.forge.branch_tip("main") == base


def test_a_merge_that_looked_before_the_close_does_not_land_after_it(world: LocalForgeWorld) -> None:
    request = opened(world)
    base, head = str(world.forge.branch_tip("main")), head_of(request)
    world.forge.close_pull_request(request.number)
    repository = BareRepository(world.path, _environment)
    branches = {"base_branch": "main", "old": base, "head_branch": "orch/DEMO-1", "new": head}
    assert not repository.fast_forward(request.number, **branches)
    assert world.forge.branch_tip("main") == base


def test_a_merge_that_looked_before_the_head_moved_does_not_land_after_it(world: LocalForgeWorld) -> None:
    request = opened(world)
    base, head = str(world.forge.branch_tip("main")), head_of(request)
    repository = BareRepository(world.path, _environment)
    branches = {"base_branch": "main", "old": base, "head_branch": "orch/DEMO-1", "new": head}
    world.commit("orch/DEMO-1")
    assert not repository.fast_forward(request.number, **branches)
    assert world.forge.branch_tip("main") == base
    assert not repository.has_ended(request.number)


def test_a_merge_that_looked_before_the_base_moved_does_not_land_after_it(world: LocalForgeWorld) -> None:
    request = opened(world)
    base, head = str(world.forge.branch_tip("main")), head_of(request)
    repository = BareRepository(world.path, _environment)
    moved = world.commit("main")
    assert not repository.fast_forward(
        request.number, base_branch="main", old=base, head_branch="orch/DEMO-1", new=head
    )
    assert world.forge.branch_tip("main") == moved


def test_of_a_close_and_a_merge_at_once_exactly_one_happens(world: LocalForgeWorld) -> None:
    for number in range(6):
        request = opened(world, f"orch/DEMO-{number}")
        base, head = world.forge.branch_tip("main"), head_of(request)
        forges = [world.another(), world.another()]

        def act(index: int, forges: list[LocalForge] = forges, number: int = request.number, head: str = head) -> None:
            if index == 0:
                forges[0].close_pull_request(number)
            else:
                forges[1].merge_pull_request(number, expected_head=head, message="m")

        close, merge = at_once(2, act)
        assert isinstance(close, LostRaceError) is (merge is None)
        assert (close is None) is isinstance(merge, LostRaceError)
        state = world.forge.pull_request(request.number).state
        assert state is (PullRequestState.MERGED if merge is None else PullRequestState.CLOSED)
        assert world.forge.branch_tip("main") == (head if merge is None else base)


def test_a_pull_request_that_is_closed_for_good_is_not_settled(world: LocalForgeWorld) -> None:
    request = opened(world)
    world.forge.close_pull_request(request.number)
    world.merge_by_hand(head_of(request))
    with pytest.raises(LostRaceError, match="closed for good"):
        world.forge.settle_pull_request(request.number, head_of(request))
    assert world.forge.pull_request(request.number).state is PullRequestState.CLOSED


def test_eight_pull_requests_opened_at_once_get_eight_numbers(world: LocalForgeWorld) -> None:
    branches = [f"orch/DEMO-{index}" for index in range(8)]
    for branch in branches:
        world.commit(branch)
    ends = at_once(
        8,
        lambda index: (
            world.another()
            .open_pull_request(head_branch=branches[index], base_branch="main", title="t", body="b")
            .number
        ),
    )
    assert sorted(map(str, ends)) == [str(number) for number in range(1, 9)]


# --- the repository ----------------------------------------------------------------------------------------------


def _push(world: LocalForgeWorld, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", f"--git-dir={world.path}", "push", str(world.path), *words], env=_NOBODY, capture_output=True, text=True
    )


def test_no_push_rewrites_a_branch_or_deletes_the_base(world: LocalForgeWorld) -> None:
    first = world.commit("main")
    tip = world.commit("main")
    assert "non-fast-forward" in _push(world, f"+{first}:refs/heads/main").stderr
    assert "deletion of the current branch prohibited" in _push(world, ":refs/heads/main").stderr
    assert world.forge.branch_tip("main") == tip


def test_no_push_writes_the_end_of_a_pull_request(world: LocalForgeWorld) -> None:
    request = opened(world)
    refused = _push(world, f"{head_of(request)}:refs/orchestrator/pulls/{request.number}/end")
    assert refused.returncode != 0
    world.forge.merge_pull_request(request.number, expected_head=head_of(request), message="m")


def test_making_a_repository_again_keeps_what_is_in_it(world: LocalForgeWorld) -> None:
    tip = world.commit("main")
    create_repository(world.path, "main", _environment)
    assert world.forge.branch_tip("main") == tip
    assert world.git("config", "receive.denyNonFastForwards") == "true"


def test_a_repository_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"file/demo\.git"):
        create_repository(tmp_path / "file" / "demo.git", "main", _environment)


def test_a_missing_repository_is_named_with_the_remedy(shared_store: Store, project: str, tmp_path: Path) -> None:
    forge = LocalForge(shared_store, project, tmp_path / "nowhere.git", "main", _environment)
    with pytest.raises(ConfigurationError, match=r"nowhere\.git.*orchestrator\.yml"):
        forge.branch_tip("main")


def test_a_lock_that_was_left_behind_is_named(world: LocalForgeWorld) -> None:
    tip = world.commit("orch/DEMO-1")
    world.git("config", "core.filesRefLockTimeout", "50")
    (world.path / "refs" / "heads" / "orch" / "DEMO-1.lock").touch()
    with pytest.raises(TransientError, match=r"DEMO-1\.lock.*remove it"):
        world.forge.delete_branch("orch/DEMO-1", expected_tip=tip)


def test_names_that_git_would_take_for_something_else_are_refused(world: LocalForgeWorld) -> None:
    tip = world.commit("main")
    for act in (
        lambda: world.forge.branch_tip("--all"),
        lambda: world.forge.branch_tip("a\nb"),
        lambda: world.forge.statuses("main"),
        lambda: world.forge.delete_branch("a b", expected_tip=tip),
        lambda: world.forge.open_pull_request(head_branch="main", base_branch="main", title="t", body="b"),
        lambda: world.forge.merge_pull_request(opened(world).number, expected_head="HEAD", message="m"),
    ):
        with pytest.raises(UsageError):
            act()


def test_a_body_with_a_character_that_cannot_be_stored_does_not_stop_a_pull_request(world: LocalForgeWorld) -> None:
    world.commit("orch/DEMO-1")
    request = world.forge.open_pull_request(head_branch="orch/DEMO-1", base_branch="main", title="t", body="a\0b\udc80")
    assert request.body == "a\ufffdb?"


def test_the_remote_needs_no_credentials(world: LocalForgeWorld) -> None:
    assert world.forge.remote_url() == str(world.path)
    assert world.forge.git_environment() == {}


def test_a_commit_that_is_no_descendant_of_the_base_is_refused_by_name(world: LocalForgeWorld) -> None:
    with pytest.raises(PermanentError):
        world.forge.settle_pull_request(opened(world).number, "f" * 40)
