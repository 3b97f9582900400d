"""Gitea keeps the contract of forges, and each of its own ways to refuse or to fall silent has one meaning."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.adapters.forges import gitea_api, wire
from orchestrator.adapters.forges.addresses import address_of
from orchestrator.adapters.git.workspaces import GitWorkspaces
from orchestrator.demo.doubles.gitea import Person
from orchestrator.demo.doubles.traps import Trap, Trouble
from orchestrator.domain.errors import (
    ConfigurationError,
    LostRaceError,
    NeedsHumanError,
    NotFoundError,
    OrchestratorError,
    PermanentError,
    TransientError,
)
from orchestrator.ports import CommitStatus, PullRequestState, StatusState
from tests.adapters.contracts.at_once import at_once
from tests.adapters.contracts.forge_contract import ForgeContract, head_of, opened
from tests.adapters.forge_worlds import ADMIN_TOKEN, TOKEN, GiteaWorld, environment, gitea_world

MERGE = r"/pulls/\d+/merge$"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GiteaWorld]:
    with gitea_world(tmp_path) as made:
        yield made


class TestGiteaKeepsTheContract(ForgeContract):
    @pytest.fixture
    def world(self, world: GiteaWorld) -> GiteaWorld:
        return world


def merge(world: GiteaWorld, number: int, head: str) -> None:
    world.forge.merge_pull_request(number, expected_head=head, message="m")


def asked(world: GiteaWorld, method: str, words: str) -> int:
    """How many such requests reached the server."""
    return sum(
        one.request.method == method and one.request.raw_path.endswith(words) for one in world.double.server.exchanges
    )


# --- what a merge is answered ------------------------------------------------------------------------------------


def test_a_server_that_still_looks_for_conflicts_is_asked_again(world: GiteaWorld) -> None:
    world.double.forge.rules.late_checks = 3
    request = opened(world)
    merge(world, request.number, head_of(request))
    assert world.forge.pull_request(request.number).state is PullRequestState.MERGED
    assert asked(world, "POST", "/merge") > 1


def test_a_server_that_never_ends_looking_leaves_it_to_the_next_pass(world: GiteaWorld) -> None:
    world.double.forge.rules.late_checks = 1000
    request, base = opened(world), world.forge.branch_tip("main")
    with pytest.raises(TransientError, match="conflicts"):
        merge(world, request.number, head_of(request))
    assert world.forge.branch_tip("main") == base


REFUSALS: dict[str, tuple[int, object, type[OrchestratorError]]] = {
    "rights": (405, "User not allowed to merge PR", NeedsHumanError),
    "draft": (405, "Work in progress PRs cannot be merged", NeedsHumanError),
    "statuses": (405, "Not all required status checks successful", TransientError),
    "approvals": (405, "Does not have enough approvals", NeedsHumanError),
    "changes wanted": (405, "There are requested changes", NeedsHumanError),
    "style": (405, "fast-forward-only is not allowed an allowed merge style for this repository", NeedsHumanError),
    "head": (409, "head out of date", TransientError),
    "push": (409, "merge push out of date", TransientError),
    "rejected": (409, "PushRejected Error: pre-receive hook declined", NeedsHumanError),
    "conflict": (409, {"Style": "merge", "StdOut": "", "StdErr": "CONFLICT", "Err": "exit status 1"}, TransientError),
    "archived": (423, "repository is archived", NeedsHumanError),
    "closed or gone": (404, "", TransientError),
    "untold": (500, "", TransientError),
    "proxy": (502, "<html>bad gateway</html>", TransientError),
    "busy": (503, "", TransientError),
    "too large": (413, "quota exceeded", PermanentError),
    "moved": (301, "", PermanentError),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_merge_is_the_kind_that_its_reason_has_and_merges_nothing(world: GiteaWorld, name: str) -> None:
    status, said, kind = REFUSALS[name]
    request, base = opened(world), world.forge.branch_tip("main")
    body = {"message": said, "url": ""} if isinstance(said, str) else said
    world.traps.set(Trap("POST", MERGE, Trouble.SAY_BEFORE, status=status, body=body))
    with pytest.raises(kind):
        merge(world, request.number, head_of(request))
    assert world.forge.pull_request(request.number).state is PullRequestState.OPEN
    assert world.forge.branch_tip("main") == base
    assert asked(world, "POST", "/merge") == 1


def test_the_time_that_a_rate_limit_names_is_kept(world: GiteaWorld) -> None:
    request = opened(world)
    world.traps.set(Trap("POST", MERGE, Trouble.SAY_BEFORE, status=429, headers={"Retry-After": "17"}))
    with pytest.raises(TransientError) as raised:
        merge(world, request.number, head_of(request))
    assert raised.value.retry_after_s == 17


SILENCES = (Trouble.DROP_AFTER, Trouble.HALF_DONE, Trouble.SAY_AFTER)


@pytest.mark.parametrize("trouble", SILENCES)
def test_a_merge_that_landed_unheard_is_never_made_again(world: GiteaWorld, trouble: Trouble) -> None:
    request = opened(world)
    head = head_of(request)
    world.traps.set(Trap("POST", MERGE, trouble))
    with pytest.raises((TransientError, LostRaceError)):
        merge(world, request.number, head)
    assert world.forge.branch_tip("main") == head
    with pytest.raises(LostRaceError):
        merge(world, request.number, head)
    world.forge.settle_pull_request(request.number, head)
    found = world.forge.pull_request(request.number)
    assert (found.state, found.merge_sha) == (PullRequestState.MERGED, head)
    assert world.commits_in("main") == 2


def test_a_merge_that_only_git_has_needs_a_person_where_marking_is_forbidden(world: GiteaWorld) -> None:
    world.double.forge.rules.manual_merge = False
    request = opened(world)
    world.merge_by_hand(head_of(request))
    with pytest.raises(NeedsHumanError, match="manual"):
        world.forge.settle_pull_request(request.number, head_of(request))


def test_a_merge_by_push_that_the_server_detects_needs_no_settling(world: GiteaWorld) -> None:
    world.double.forge.rules.autodetect_manual_merge = True
    request = opened(world)
    world.merge_by_hand(head_of(request))
    assert world.forge.pull_request(request.number).state is PullRequestState.MERGED
    world.forge.settle_pull_request(request.number, head_of(request))


def test_a_merge_waits_for_minutes_and_does_not_give_up(world: GiteaWorld) -> None:
    request = opened(world)
    trap = Trap("POST", MERGE, Trouble.HOLD_BEFORE)
    world.traps.set(trap)

    def release_late(index: int) -> None:
        if index == 0:
            merge(world, request.number, head_of(request))
            return
        assert trap.caught.wait(30)
        trap.release()

    assert at_once(2, release_late) == [None, None]
    assert world.forge.pull_request(request.number).state is PullRequestState.MERGED
    assert (wire.MERGE.read or 0) >= 10 * 60


def test_a_merge_waits_by_its_own_time_and_not_by_that_of_reads(
    world: GiteaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = opened(world)
    monkeypatch.setattr(gitea_api, "MERGE", httpx.Timeout(0.2, connect=10.0))
    trap = Trap("POST", MERGE, Trouble.HOLD_BEFORE)
    world.traps.set(trap)
    with pytest.raises(TransientError):
        merge(world, request.number, head_of(request))
    trap.release()


def test_protection_of_the_base_branch_is_kept_to(world: GiteaWorld) -> None:
    rule = {"rule_name": "main", "enable_status_check": True, "status_check_contexts": ["ci/test"]}
    world.double.forge.rules.protected["main"] = rule
    request = opened(world)
    head = head_of(request)
    with pytest.raises(TransientError, match="status checks"):
        merge(world, request.number, head)
    world.forge.set_status(head, "ci/test", StatusState.SUCCESS, "green")
    merge(world, request.number, head)
    assert world.forge.branch_tip("main") == head


def test_the_server_is_not_even_asked_to_delete_the_base_branch(world: GiteaWorld) -> None:
    tip = world.forge.branch_tip("main") or ""
    with pytest.raises(PermanentError, match="main"):
        world.forge.delete_branch("main", expected_tip=tip)
    assert asked(world, "POST", "/git-receive-pack") == 0


# --- opening -----------------------------------------------------------------------------------------------------


def test_of_two_that_the_server_opened_at_once_the_first_stays(world: GiteaWorld) -> None:
    world.commit("orch/DEMO-1")
    forge = world.double.forge
    # The server's check is not atomic: another one's request slips in between.
    real = forge.add_pull

    def both(head: str, base: str, title: str, body: str, by: Person) -> object:
        real(head, base, "another one's", body, by)
        return real(head, base, title, body, by)

    forge.add_pull = both  # type: ignore[method-assign,assignment]  # a fault of the server, not of its clients
    with pytest.raises(LostRaceError, match="pull request 1"):
        world.forge.open_pull_request(head_branch="orch/DEMO-1", base_branch="main", title="t", body="b")
    found = world.forge.find_pull_requests("orch/DEMO-1")
    assert [(one.title, one.state) for one in found] == [
        ("another one's", PullRequestState.OPEN),
        ("t", PullRequestState.CLOSED),
    ]


def test_pull_requests_are_found_over_all_pages_however_small_the_server_makes_them(
    world: GiteaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.demo.doubles.gitea.routes._MOST", 2)
    numbers = []
    for _ in range(5):
        request = opened(world)
        world.forge.close_pull_request(request.number)
        numbers.append(request.number)
    assert [one.number for one in world.forge.find_pull_requests("orch/DEMO-1")] == numbers


def test_a_repository_without_that_branch_is_told_from_one_without_that_repository(world: GiteaWorld) -> None:
    with pytest.raises(NotFoundError, match="no branch orch/DEMO-9"):
        world.forge.open_pull_request(head_branch="orch/DEMO-9", base_branch="main", title="t", body="b")


# --- statuses, reviews, comments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("success", StatusState.SUCCESS),
        ("skipped", StatusState.SUCCESS),
        ("pending", StatusState.PENDING),
        ("failure", StatusState.FAILURE),
        ("error", StatusState.FAILURE),
        ("warning", StatusState.FAILURE),
    ],
)
def test_every_word_for_a_status_has_one_meaning(world: GiteaWorld, word: str, state: StatusState) -> None:
    sha = world.commit("orch/DEMO-1")
    world.forge.api.set_status(sha, "ci", word, "said")
    assert world.forge.statuses(sha) == [CommitStatus("ci", state, "said")]


def test_a_red_status_on_the_second_page_is_seen(world: GiteaWorld) -> None:
    sha = world.commit("orch/DEMO-1")
    world.forge.set_status(sha, "ci/first", StatusState.FAILURE, "red")
    for number in range(60):
        world.forge.set_status(sha, f"ci/{number}", StatusState.SUCCESS, "")
    assert CommitStatus("ci/first", StatusState.FAILURE, "red") in world.forge.statuses(sha)


def test_reviews_are_read_with_the_commit_that_they_speak_of(world: GiteaWorld) -> None:
    request = opened(world)
    admin = world.of(ADMIN_TOKEN)
    asked_for = {"event": "APPROVED", "body": "fine", "commit_id": head_of(request)}
    admin.api.wire.send("POST", f"/repos/demo/shop/pulls/{request.number}/reviews", json=asked_for)
    [review] = world.forge.reviews(request.number)
    assert (review.author, review.state, review.commit, review.stale) == ("admin", "APPROVED", head_of(request), False)
    world.commit("orch/DEMO-1")
    assert world.forge.reviews(request.number)[0].stale


def test_a_comment_is_written_once_however_often_it_is_asked_for(world: GiteaWorld) -> None:
    request = opened(world)
    assert world.forge.find_comment(request.number, "orchestrator:1/2/x") is None
    first = world.forge.add_comment(request.number, "orchestrator:1/2/x", "Sent back.")
    assert world.another().add_comment(request.number, "orchestrator:1/2/x", "Sent back.") == first
    assert world.forge.add_comment(request.number, "orchestrator:1/2/xy", "More.") != first
    assert [one.body for one in world.double.forge.comments.values()] == [
        "Sent back.\n\n<!-- orchestrator:1/2/x -->",
        "More.\n\n<!-- orchestrator:1/2/xy -->",
    ]


# --- who may do what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda forge: forge.find_pull_requests("orch/DEMO-1"),
        lambda forge: forge.branch_tip("main"),
        lambda forge: forge.set_status("a" * 40, "ci", StatusState.SUCCESS, ""),
    ],
)
def test_a_token_that_nobody_knows_needs_a_person(world: GiteaWorld, use: Callable[[object], object]) -> None:
    with pytest.raises(NeedsHumanError):
        use(world.of("unknown"))


def test_a_token_with_too_small_a_scope_needs_a_person(world: GiteaWorld) -> None:
    world.double.let_in("reader", Person("reader", frozenset({"read:repository"}), right="read"))
    request = opened(world)
    for act in (
        lambda: world.of("reader").open_pull_request(head_branch="orch/DEMO-1", base_branch="main", title="", body=""),
        lambda: world.of("reader").delete_branch("orch/DEMO-1", expected_tip=head_of(request)),
        lambda: world.of("reader").add_comment(request.number, "m", "t"),
    ):
        with pytest.raises(NeedsHumanError):
            act()


def test_the_token_goes_to_the_forge_that_it_is_for_and_nowhere_else() -> None:
    forge = "https://git.example.org/gitea"
    assert address_of("SHOP", f"{forge}/team/shop.git", f"{forge}/", "X").clone_url == f"{forge}/team/shop.git"
    for elsewhere in (
        "https://git.example.com/gitea/team/shop.git",
        "https://git.example.org/gitea.evil/team/shop.git",
        "https://git.example.org/team/shop.git",
        "git@git.example.org:team/shop.git",
        "/srv/team/shop.git",
        f"{forge}/shop.git",
        f"{forge}/a/b/c.git",
        f"{forge}//shop.git",
    ):
        with pytest.raises(ConfigurationError):
            address_of("SHOP", elsewhere, forge, "X")


def test_git_logs_in_without_the_token_in_a_command_line_a_file_or_an_error(
    world: GiteaWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = tmp_path / "commands"
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "git"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {seen}\nPATH={os.environ["PATH"]} exec git "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    login = world.forge.git_environment()
    here = GitWorkspaces(
        tmp_path / "git",
        "DEMO",
        world.forge.remote_url(),
        "main",
        lambda: {"PATH": f"{folder}:{os.environ['PATH']}", **login},
    )
    worktree = here.prepare("orch/DEMO-7")
    (worktree / "new.txt").write_text("new")
    head = here.commit_all("orch/DEMO-7", "work")
    here.publish("orch/DEMO-7", head, None)
    assert world.forge.branch_tip("orch/DEMO-7") == head
    world.double.forge.people.clear()
    with pytest.raises(NeedsHumanError) as refused:
        here.publish("orch/DEMO-7", here.move_aside("orch/DEMO-7", head), head)
    basic = login["GIT_CONFIG_VALUE_0"].rpartition(" ")[2]
    kept = [one.read_bytes() for one in (tmp_path / "git").rglob("*") if one.is_file()]
    said = [seen.read_text(), str(refused.value), caplog.text]
    assert "push" in seen.read_text()
    for secret in (TOKEN, basic):
        assert not any(secret.encode() in one for one in kept)
        assert not any(secret in one for one in said)


def test_nothing_that_an_error_says_holds_the_token(world: GiteaWorld) -> None:
    world.double.stop()
    for act in (lambda: world.forge.pull_request(1), lambda: world.forge.branch_tip("main")):
        with pytest.raises(TransientError) as raised:
            act()
        assert TOKEN not in str(raised.value)
        assert raised.value.__cause__ is None
    world.double.forge.deliveries = type(world.double.forge.deliveries)()


def test_agents_get_nothing_of_the_forge(world: GiteaWorld) -> None:
    assert set(world.forge.git_environment()) == {
        "GIT_CONFIG_COUNT",
        *(f"GIT_CONFIG_{part}_{number}" for part in ("KEY", "VALUE") for number in (0, 1)),
    }
    assert TOKEN not in world.forge.remote_url()
    assert environment().keys() == {"PATH"}
