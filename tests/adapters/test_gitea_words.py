"""The double is held to Gitea's own words; these show that a double that drifts is caught."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.demo.doubles.gitea import Person
from orchestrator.demo.doubles.gitea.deliveries import Delivery, Event
from orchestrator.demo.doubles.http_server import Exchange, Reply, Request, Server
from orchestrator.ports import StatusState
from orchestrator.secret import Secret
from tests.adapters.contracts.forge_contract import head_of, opened
from tests.adapters.forge_worlds import ADMIN_TOKEN, GiteaWorld, gitea_world
from tests.adapters.gitea_words import problems_of, problems_of_delivery, recorded

PULLS = "/api/v1/repos/demo/shop/pulls"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GiteaWorld]:
    with gitea_world(tmp_path) as made:
        yield made


def exchange(
    method: str, path: str, body: str = "", query: str = "", *, status: int = 200, said: Any = None
) -> Exchange:
    return Exchange(Request(method, path, query, {}, body.encode()), Reply(status, said), by_trap=False)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (exchange("GET", "/api/v1/repos/a/b/nothing"), "no such call"),
        (exchange("GET", PULLS, query="head=x", said=[]), "no query parameter head"),
        (exchange("GET", PULLS, query="state=merged", said=[]), "none of"),
        (exchange("GET", PULLS, said=[{"nmber": 1}]), "nmber"),
        (exchange("GET", PULLS, said=[{"number": "1"}]), "not of type 'integer'"),
        (exchange("GET", PULLS, said=[{"head": {"branch": "x"}}]), "branch"),
        (exchange("GET", PULLS, status=500, said={"error": "x"}), "no error as the API writes it"),
        (exchange("GET", f"{PULLS}/1", status=418, said={"message": "", "url": ""}), "does not know"),
        (exchange("POST", f"{PULLS}/1/merge", '{"Do": "force"}'), "force"),
        (exchange("POST", f"{PULLS}/1/merge", '{"Do": "merge", "head": "x"}'), "head"),
        (exchange("POST", f"{PULLS}/1/merge", '{"Do": "merge"}', said={"merged": True}), "has a body"),
        (exchange("PATCH", f"{PULLS}/1", '{"State": "closed"}', status=201, said={}), "State"),
    ],
)
def test_what_the_server_would_not_say_or_take_is_a_problem(bad: Exchange, problem: str) -> None:
    assert any(problem in one for one in problems_of(bad)), problems_of(bad)


@pytest.mark.parametrize(
    "good",
    [
        exchange("GET", PULLS, query="state=all&page=2", said=[{"number": 1, "merged_at": None}]),
        exchange("POST", f"{PULLS}/1/merge", '{"Do": "fast-forward-only", "head_commit_id": "x"}'),
        exchange("GET", "/demo/shop.git/info/refs", said=b"refs"),
    ],
)
def test_what_the_server_says_is_none(good: Exchange) -> None:
    assert problems_of(good) == []


def test_every_kind_of_delivery_that_the_double_sends_is_as_recorded(world: GiteaWorld, tmp_path: Path) -> None:
    with receiver() as heard:
        world.of(ADMIN_TOKEN).api.add_hook(
            heard.url, Secret("s3cret"), ["push", "create", "delete", "status", "pull_request"]
        )
        request = opened(world)
        newer = world.commit("orch/DEMO-1")
        world.forge.set_status(newer, "ci", StatusState.SUCCESS, "green")
        world.forge.add_comment(request.number, "m", "t")
        approve = {"event": "APPROVED", "body": "fine", "commit_id": newer}
        world.of(ADMIN_TOKEN).api.wire.send("POST", f"/repos/demo/shop/pulls/{request.number}/reviews", json=approve)
        world.forge.merge_pull_request(request.number, expected_head=newer, message="m")
        world.forge.delete_branch("orch/DEMO-1", expected_tip=newer)
        second = opened(world, "orch/DEMO-2")
        world.forge.close_pull_request(second.number)
        world.double.forge.deliveries.settle()
    sent = world.double.forge.deliveries.sent
    kinds = {one.event.event_type for one in sent}
    assert kinds == {
        "create", "push", "delete", "status", "pull_request", "pull_request_sync", "pull_request_comment",
        "pull_request_review_approved",
    }  # fmt: skip
    assert [problem for one in sent for problem in problems_of_delivery(one)] == []
    assert head_of(request)


def test_a_delivery_that_differs_from_those_recorded_is_a_problem() -> None:
    [body] = recorded()["status"]
    good = Delivery(Event("status", "status", body), "", 202)
    assert problems_of_delivery(good) == []
    for changed in (
        {**body, "status": "success"},
        {name: one for name, one in body.items() if name != "sha"},
        {**body, "repository": {**body["repository"], "slug": "x"}},
    ):
        assert problems_of_delivery(replace(good, event=Event("status", "status", changed)))
    assert problems_of_delivery(replace(good, event=Event("star", "star", body)))


def test_the_double_knows_its_people_by_their_tokens_alone(world: GiteaWorld) -> None:
    world.double.let_in("other", Person("other"))
    assert world.of("other").api.user() == "other"


def test_a_delivery_is_signed_over_its_raw_body_and_never_sent_again(world: GiteaWorld) -> None:
    with receiver(status=500) as heard:
        world.of(ADMIN_TOKEN).api.add_hook(heard.url, Secret("s3cret"), ["push"])
        world.commit("main")
        # The next request finds the push, as the hook after a push does at once.
        assert list(world.forge.find_pull_requests("x")) == []
        world.double.forge.deliveries.settle()
    [got] = [one.request for one in heard.exchanges]
    assert got.headers["X-Gitea-Signature"] == hmac.new(b"s3cret", got.body, hashlib.sha256).hexdigest()
    assert got.headers["X-Hub-Signature-256"] == f"sha256={got.headers['X-Gitea-Signature']}"
    assert (got.headers["X-Gitea-Event"], got.headers["X-Gitea-Event-Type"]) == ("push", "push")
    assert [one.status for one in world.double.forge.deliveries.sent] == [500]


def test_a_hook_that_is_not_active_or_did_not_ask_hears_nothing(world: GiteaWorld) -> None:
    with receiver() as heard:
        admin = world.of(ADMIN_TOKEN).api
        admin.add_hook(heard.url, Secret("s"), ["status"])
        config = {"url": heard.url, "content_type": "json", "secret": "s"}
        # Active is false unless it is asked for.
        admin.wire.send("POST", "/repos/demo/shop/hooks", json={"type": "gitea", "config": config, "events": ["push"]})
        world.commit("main")
        assert list(world.forge.find_pull_requests("x")) == []
        world.double.forge.deliveries.settle()
    assert list(heard.exchanges) == []


@contextmanager
def receiver(status: int = 202) -> Iterator[Server]:
    """Somebody who takes deliveries."""
    server = Server(lambda _request: Reply(status, {}))
    server.start()
    yield server
    server.stop()
