"""What recorded deliveries of Gitea speak of, what makes two of them one, and what GitHub's say in its own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.forges import gitea_deliveries, github_deliveries
from orchestrator.demo.doubles.traps import Trap, Trouble
from orchestrator.ports import OWN_CONTEXT, OWN_WRITE, Hint
from tests.adapters.forge_worlds import gitea_world, github_world

RECORDED = Path(__file__).parents[1] / "fixtures" / "gitea" / "webhooks"
INDEX: dict[str, dict[str, str]] = {str(one["file"]): one for one in json.loads((RECORDED / "index.json").read_text())}
HEAD = "d555a5dd07f4d0148a58d4686ec381502ae6a2d4"
PATCH = "anbraten-patch-1"
JONYS = Hint(pull_requests=(7,), branches=("jony-patch-1",), heads=("07977177c2cd7d46bad37b8472a9d50e7acb9d1f",))
OURS = Hint(pull_requests=(1,), branches=(PATCH,), heads=(HEAD,))
EXPECTED = {
    "push.json": Hint(everything=True, note="main moved"),
    "push.new_branch.json": Hint(branches=("fdsafdsa",), heads=("28c3613ae62640216bea5e7dc71aa65356e4298b",)),
    "create.branch.json": Hint(branches=(PATCH,), heads=(HEAD,)),
    "create.tag.json": Hint(note="tag: nothing rests on it"),
    "delete.branch.json": Hint(branches=(PATCH,)),
    "status.json": Hint(heads=(HEAD,)),
    "issue_comment.created_on_pull.json": OURS,
    "pull_request.opened.json": OURS,
    "pull_request.closed_merged.json": OURS,
    "pull_request.closed_unmerged.json": OURS,
    "pull_request.reopened.json": Hint(
        pull_requests=(1,), branches=("6543-patch-1",), heads=("36b5813240a9d2daa29b05046d56a53e18f39a3e",)
    ),
    "pull_request.synchronized_1.27.json": Hint(
        pull_requests=(1,), branches=(PATCH,), heads=("0c2b6d1e4f7a9b8c3d5e6f708192a3b4c5d6e7f8",)
    ),
    "pull_request_approved.json": JONYS,
    "pull_request_rejected.json": JONYS,
    "pull_request_comment.json": JONYS,
    "pull_request.review_requested.json": JONYS,
}


def recorded(file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / file).read_text())
    return found


def asked(file: str, row: dict[str, Any] | None = None, *, base: str = "main") -> Hint | None:
    told = recorded(file) if row is None else row
    name = recorded(file)["repository"]["full_name"]
    return gitea_deliveries.hint(INDEX[file]["X-Gitea-Event-Type"], json.dumps(told).encode(), name, base)


@pytest.mark.parametrize("file", EXPECTED)
def test_a_recorded_delivery_leads_to_what_it_speaks_of(file: str) -> None:
    assert asked(file) == EXPECTED[file]


@pytest.mark.parametrize("file", INDEX)
def test_every_recorded_delivery_leads_somewhere_or_says_why_not(file: str) -> None:
    found = asked(file)
    assert found is not None
    assert found.everything or found.branches or found.pull_requests or found.heads or found.note


@pytest.mark.parametrize("file", INDEX)
def test_a_delivery_of_another_repository_is_none_of_this_project(file: str) -> None:
    row = recorded(file) | {"repository": {"full_name": "somebody/else"}}
    assert asked(file, row) is None


@pytest.mark.parametrize("file", INDEX)
def test_names_of_repositories_do_not_differ_by_capitals(file: str) -> None:
    row = recorded(file)
    row["repository"]["full_name"] = row["repository"]["full_name"].upper()
    assert asked(file, row) == asked(file)


@pytest.mark.parametrize("file", INDEX)
def test_fields_that_are_missing_null_or_of_another_kind_are_never_an_error(file: str) -> None:
    row = recorded(file)
    others: list[Any] = [None, 7, "text", [], {}, [None], {"id": {}}]
    for name in row:
        for worse in others:
            asked(file, row | {name: worse})
        asked(file, {key: text for key, text in row.items() if key != name})


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"null", b'"text"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_a_reason_to_look_at_everything(body: bytes) -> None:
    assert gitea_deliveries.hint("push", body, "a/b", "main") == Hint(
        everything=True, note="the body is no JSON object"
    )
    assert github_deliveries.hint("push", body, "a/b", "main") == Hint(
        everything=True, note="the body is no JSON object"
    )
    assert gitea_deliveries.meaning("push", body) is None


def test_the_branch_of_a_fork_is_none_of_ours() -> None:
    row = recorded("pull_request.opened.json")
    row["pull_request"]["head"]["repo"]["id"] = 999
    assert asked("pull_request.opened.json", row) == Hint(pull_requests=(1,), heads=(HEAD,))


# --- our own writes ----------------------------------------------------------------------------------------------

IGNORED = {
    "push.new_branch.json",
    "create.branch.json",
    "delete.branch.json",
    "create.tag.json",
    "issue_comment.created_on_pull.json",
    "pull_request.opened.json",
    "pull_request.edited_title.json",
    "pull_request.closed_unmerged.json",
    "pull_request.synchronized.json",
    "pull_request.synchronized_1.27.json",
}
"""What the orchestrator itself does and what can carry no news to it. A merge and a move of the base branch may (the
answer of the one was lost, others build on the other), so may reviews and what a CI says in the name of who pushed."""


@pytest.mark.parametrize("file", INDEX)
def test_a_delivery_of_our_own_write_asks_for_nothing_unless_it_may_be_news(file: str) -> None:
    row = recorded(file)
    event, name = INDEX[file]["X-Gitea-Event-Type"], row["repository"]["full_name"]
    by_us = gitea_deliveries.hint(event, json.dumps(row).encode(), name, "main", lambda: row["sender"]["login"])
    by_a_person = gitea_deliveries.hint(event, json.dumps(row).encode(), name, "main", lambda: "somebody-else")
    assert by_a_person == asked(file)
    assert by_us == (Hint(note=OWN_WRITE) if file in IGNORED else asked(file))


@pytest.mark.parametrize("sender", [None, {}, {"login": ""}, {"login": 7}])
def test_a_write_of_nobody_is_not_ours_though_nobody_knows_who_we_are(sender: object) -> None:
    row = recorded("pull_request.opened.json") | {"sender": sender}
    event, name = INDEX["pull_request.opened.json"]["X-Gitea-Event-Type"], row["repository"]["full_name"]
    assert gitea_deliveries.hint(event, json.dumps(row).encode(), name, "main", lambda: "") == OURS


def test_a_status_is_our_own_write_under_our_own_name_alone() -> None:
    row = recorded("status.json")
    name, login = row["repository"]["full_name"], row["sender"]["login"]
    for context, expected in ((OWN_CONTEXT, Hint(note=OWN_WRITE)), ("ci/build", Hint(heads=(HEAD,)))):
        body = json.dumps(row | {"context": context}).encode()
        assert gitea_deliveries.hint("status", body, name, "main", lambda: login) == expected


def test_who_we_are_is_only_asked_where_it_matters() -> None:
    def nobody_may_ask() -> str:
        raise AssertionError("asked")

    for file in set(INDEX) - IGNORED:
        row = recorded(file)
        name = row["repository"]["full_name"]
        gitea_deliveries.hint(INDEX[file]["X-Gitea-Event-Type"], json.dumps(row).encode(), name, "main", nobody_may_ask)


@pytest.mark.parametrize(
    ("event", "row", "ignored"),
    [
        ("push", {"ref": "refs/heads/orch/DEMO-1", "after": HEAD}, True),
        ("push", {"ref": "refs/heads/main", "after": HEAD}, False),
        ("delete", {"ref": "orch/DEMO-1", "ref_type": "branch"}, True),
        ("pull_request", {"action": "opened", "pull_request": {"number": 3, "merged": False}}, True),
        ("pull_request", {"action": "synchronize", "pull_request": {"number": 3}}, True),
        ("pull_request", {"action": "closed", "pull_request": {"number": 3, "merged": True}}, False),
        ("pull_request", {"action": "reopened", "pull_request": {"number": 3}}, False),
        ("pull_request_review", {"action": "submitted", "pull_request": {"number": 3}, "review": {}}, False),
        ("pull_request_review_comment", {"action": "created", "pull_request": {"number": 3}, "comment": {}}, False),
        ("issue_comment", {"action": "created", "issue": {"number": 3, "pull_request": {}}, "comment": {}}, True),
        ("status", {"sha": HEAD, "context": OWN_CONTEXT}, True),
        ("status", {"sha": HEAD, "context": "ci"}, False),
        # GitHub names who pushed as the sender of what Actions says.
        ("check_run", {"action": "completed", "check_run": {"head_sha": HEAD}}, False),
    ],
)
def test_our_own_writes_at_github(event: str, row: dict[str, object], ignored: bool) -> None:
    body = {"repository": {"full_name": "demo/shop"}, "sender": {"login": "Orchestrator"}, **row}
    found = github_deliveries.hint(event, json.dumps(body).encode(), "demo/shop", "main", lambda: "orchestrator")
    assert found is not None
    assert (found.note == OWN_WRITE) is ignored
    assert found.asks_for_nothing is ignored


@pytest.mark.parametrize("world", [gitea_world, github_world])
def test_a_forge_knows_whose_token_it_has_and_asks_once(world: Any, tmp_path: Path) -> None:
    with world(tmp_path) as outside:
        trap = Trap("GET", r"/user$", Trouble.SAY_BEFORE, status=503)
        outside.traps.set(trap)
        assert outside.forge.login() == "", "no answer: nothing is taken for our own"
        assert outside.forge.login() == "orchestrator"
        asked_before = len(outside.double.server.exchanges)
        assert outside.forge.login() == "orchestrator"
        assert len(outside.double.server.exchanges) == asked_before


# --- one happening, however it is told ---------------------------------------------------------------------------


def meaning_of(file: str, row: dict[str, Any]) -> str | None:
    return gitea_deliveries.meaning(INDEX[file]["X-Gitea-Event-Type"], json.dumps(row).encode())


@pytest.mark.parametrize("file", INDEX)
def test_two_hooks_that_tell_of_one_happening_mean_the_same(file: str) -> None:
    row = recorded(file)
    # What may differ between two sends: the order of fields, and what is read at the time of the send.
    other = dict(reversed(row.items()))
    other["sender"] = {**row["sender"], "followers_count": 12}
    other["repository"] = {**row["repository"], "open_issues_count": 3, "size": 99}
    assert meaning_of(file, row) == meaning_of(file, other) is not None


def test_no_two_recorded_deliveries_mean_the_same() -> None:
    found = [meaning_of(file, recorded(file)) for file in INDEX]
    assert len(set(found)) == len(INDEX)


@pytest.mark.parametrize(
    ("file", "path", "text"),
    [
        ("pull_request.closed_unmerged.json", ("action",), "reopened"),
        ("pull_request.closed_unmerged.json", ("pull_request", "merged"), True),
        ("pull_request.closed_unmerged.json", ("pull_request", "updated_at"), "2031-01-01T00:00:00Z"),
        ("pull_request.synchronized.json", ("pull_request", "head", "sha"), "a" * 40),
        ("pull_request_approved.json", ("review", "content"), "on second thoughts"),
        ("status.json", ("state",), "failure"),
        ("status.json", ("id",), 4711),
        ("push.json", ("after",), "a" * 40),
        ("delete.branch.json", ("repository", "updated_at"), "2031-01-01T00:00:00Z"),
        ("issue_comment.created_on_pull.json", ("comment", "id"), 4711),
    ],
)
def test_what_happens_after_that_means_something_else(file: str, path: tuple[str, ...], text: object) -> None:
    row, changed = recorded(file), recorded(file)
    place = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = text
    assert meaning_of(file, row) != meaning_of(file, changed)


# --- GitHub ------------------------------------------------------------------------------------------------------


def told(event: str, **row: object) -> Hint | None:
    body = {"repository": {"full_name": "Demo/Shop"}, **row}
    return github_deliveries.hint(event, json.dumps(body).encode(), "demo/shop", "main")


def pull(**more: object) -> dict[str, object]:
    repo = {"id": 5}
    side = {"head": {"ref": "orch/DEMO-1", "sha": HEAD, "repo": repo}, "base": {"ref": "main", "repo": repo}}
    return {"number": 3, **side, **more}


def test_deliveries_of_github_lead_to_branches_pull_requests_and_heads() -> None:
    whole = Hint(pull_requests=(3,), branches=("orch/DEMO-1",), heads=(HEAD,))
    assert told("pull_request", action="synchronize", number=3, pull_request=pull()) == whole
    assert told("pull_request_review", action="submitted", pull_request=pull()) == whole
    assert told("push", ref="refs/heads/main", before="b" * 40, after=HEAD) == Hint(everything=True, note="main moved")
    assert told("push", ref="refs/heads/orch/DEMO-1", before="0" * 40, after=HEAD) == Hint(
        branches=("orch/DEMO-1",), heads=(HEAD,)
    )
    assert told("delete", ref="orch/DEMO-1", ref_type="branch") == Hint(branches=("orch/DEMO-1",))
    assert told("status", sha=HEAD, state="success") == Hint(heads=(HEAD,))
    suite = {"head_branch": "orch/DEMO-1"}
    run = {"head_sha": HEAD, "check_suite": suite, "pull_requests": [{"number": 3}]}
    assert told("check_run", check_run=run) == whole
    assert told("issue_comment", issue={"number": 3, "pull_request": {}}) == Hint(pull_requests=(3,))


def test_what_nothing_rests_on_asks_for_nothing() -> None:
    for event, row in (("ping", {}), ("star", {}), ("issue_comment", {"issue": {"number": 9}}), ("", {})):
        found = told(event, **row)
        assert found is not None
        assert found.note
        assert found == Hint(note=found.note)
