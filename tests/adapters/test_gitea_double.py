"""The traps of a Gitea, as any client meets them: a stand-in that is friendlier than the real one proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.demo.doubles.traps import Trap, Trouble
from tests.adapters.forge_worlds import ADMIN_TOKEN, TOKEN, GiteaWorld, gitea_world

REPOSITORY = "/api/v1/repos/demo/shop"
BRANCH = "orch/DEMO-1"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GiteaWorld]:
    with gitea_world(tmp_path) as made:
        yield made


def ask(world: GiteaWorld, method: str, path: str, *, token: str = TOKEN, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"token {token}"}
    return httpx.request(method, f"{world.double.url}{REPOSITORY}{path}", headers=headers, timeout=60, **more)


def opened(world: GiteaWorld) -> int:
    world.commit(BRANCH)
    return int(ask(world, "POST", "/pulls", json={"head": BRANCH, "base": "main", "title": "t"}).json()["number"])


def merge(world: GiteaWorld, number: int, **more: object) -> httpx.Response:
    return ask(world, "POST", f"/pulls/{number}/merge", json={"Do": "fast-forward-only", **more})


def test_mergeable_is_false_while_the_conflict_check_runs_and_merges_are_asked_to_come_back(world: GiteaWorld) -> None:
    world.double.forge.rules.late_checks = 3
    number = opened(world)
    seen = [ask(world, "GET", f"/pulls/{number}").json()["mergeable"] for _ in range(3)]
    assert seen == [False, False, True]
    world.commit(BRANCH)
    later = merge(world, number)
    assert (later.status_code, later.json()["message"]) == (405, "Please try again later")


def test_the_combined_status_is_that_of_one_page_and_its_count_as_well(world: GiteaWorld) -> None:
    sha = world.commit(BRANCH)
    for context in range(33):
        state = "failure" if context == 0 else "success"
        ask(world, "POST", f"/statuses/{sha}", json={"state": state, "context": f"ci/{context:02}"})
    pages = [ask(world, "GET", f"/commits/{sha}/status", params={"limit": 50, "page": n}) for n in (1, 2)]
    told = [(one.json()["state"], len(one.json()["statuses"] or []), one.json()["total_count"]) for one in pages]
    short = [ask(world, "GET", f"/commits/{sha}/status", params={"page": n}).json() for n in (1, 2)]
    assert {one["state"] for one in short} == {"success", "failure"}, told
    assert [len(one["statuses"]) for one in short] == [30, 3]
    assert [one["total_count"] for one in short] == [30, 3]
    assert pages[0].headers["X-Total-Count"] == "33"


def test_a_merge_whose_base_moved_is_a_500_without_a_word_and_nothing_moves(world: GiteaWorld) -> None:
    number = opened(world)
    # Moved without a conflict: with one the answer is another.
    tree = world.git.run("rev-parse", "main^{tree}")[1]
    tip = world.git.run("commit-tree", tree, "-p", world.git.tip("main") or "", "-m", "elsewhere")[1]
    world.merge_by_hand(tip)
    answer = merge(world, number)
    assert (answer.status_code, answer.json()["message"]) == (500, "")
    assert world.git.tip("main") == tip


def test_a_merge_of_another_head_is_a_409_and_one_of_a_merged_one_a_405(world: GiteaWorld) -> None:
    number = opened(world)
    assert merge(world, number, head_commit_id="a" * 40).status_code == 409
    assert merge(world, number).status_code == 200
    assert merge(world, number).json()["message"] == "The PR is already merged"


@pytest.mark.parametrize("trouble", [Trouble.DROP_AFTER, Trouble.HALF_DONE])
def test_a_merge_that_is_dropped_after_it_landed_may_leave_the_pull_request_open(
    world: GiteaWorld, trouble: Trouble
) -> None:
    number = opened(world)
    head = world.git.tip(BRANCH)
    world.traps.set(Trap("POST", "/merge$", trouble))
    with pytest.raises(httpx.RemoteProtocolError):
        merge(world, number)
    assert world.git.tip("main") == head
    row = ask(world, "GET", f"/pulls/{number}").json()
    assert (row["merged"], row["state"]) == ((False, "open") if trouble is Trouble.HALF_DONE else (True, "closed"))
    if trouble is Trouble.HALF_DONE:
        marked = {"Do": "manually-merged", "MergeCommitID": head}
        assert ask(world, "POST", f"/pulls/{number}/merge", json=marked).status_code == 200


def test_failures_happen_by_request_count_and_an_error_says_nothing_of_what_was_done(world: GiteaWorld) -> None:
    number = opened(world)
    world.traps.set(Trap("POST", "/comments$", Trouble.SAY_AFTER, skip=1, times=2))
    path = f"/issues/{number}/comments"
    answers = [ask(world, "POST", path, json={"body": f"{n}"}).status_code for n in range(4)]
    assert answers == [201, 500, 500, 201]
    assert [one["body"] for one in ask(world, "GET", path).json()] == ["0", "1", "2", "3"]


def test_who_may_merge_and_push_is_what_the_protection_says(world: GiteaWorld) -> None:
    rule = {
        "rule_name": "ma*",
        "enable_push": True,
        "enable_push_whitelist": True,
        "push_whitelist_usernames": ["admin"],
        "enable_merge_whitelist": True,
        "merge_whitelist_usernames": ["admin"],
    }
    assert ask(world, "POST", "/branch_protections", token=ADMIN_TOKEN, json=rule).status_code == 201
    told = {token: ask(world, "GET", "/branches/main", token=token).json() for token in (TOKEN, ADMIN_TOKEN)}
    for right in ("user_can_push", "user_can_merge"):
        assert (told[TOKEN][right], told[ADMIN_TOKEN][right]) == (False, True)
    number = opened(world)
    refused = merge(world, number)
    assert (refused.status_code, refused.json()["message"]) == (405, "User not allowed to merge PR")
