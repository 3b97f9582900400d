"""The stand-in answers as a real Plane was seen to answer, and both sides keep to Plane's own description.

Each recorded request is sent to a stand-in that holds the same things; compared are the status, the shape of the
answer and the headers that anybody reads.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.demo.doubles.plane.double import API_KEY
from orchestrator.ports import TrackerState
from tests.adapters.plane import described
from tests.adapters.plane.conftest import PlaneWorld
from tests.adapters.plane.described import Recorded
from tests.receiver import Receiver

NOWHERE = "00000000-0000-4000-8000-000000000000"
NOT_STOOD_IN_FOR = {
    "link_create": "links are not used",
    "link_create_dup_400": "links are not used",
    "links_list": "links are not used",
    "work_items_search": "the search is not used",
    "work_items_search_text": "the search is not used",
    "project_member_add": "members are added by people",
    "project_get": "its many switches are not read",
    "projects_list": "its many switches are not read",
}
FREE_KEYS = {"error", "detail"}
HTTP = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))  # one for all: making one takes its time


@dataclass
class Stage:
    """A stand-in with the two items, the comment, the label and the relation that the recordings speak of."""

    double: PlaneDouble
    first: str
    second: str

    def send(self, one: Recorded) -> httpx.Response:
        headers = {"X-API-Key": API_KEY} if "X-API-Key" in one.headers else {}
        if one.name == "bad_key_403":
            headers = {"X-API-Key": "plane_api_wrong"}
        body = None if one.body is None else json.loads(self.here(json.dumps(one.body)))
        query = json.loads(self.here(json.dumps(one.query)))
        url = self.double.url + self.here(one.path)
        return HTTP.request(one.method, url, params=query, json=body, headers=headers)

    def here(self, text: str) -> str:
        """The same thing's id in this stand-in."""
        return _replaced(text, self._ids())

    def _ids(self) -> Mapping[str, str]:
        project, states = self.double.project, {one.name: one.id for one in self.double.project.states.values()}
        there = {one["name"]: one["id"] for one in described.called("states_list").answer["results"]}
        first, second = self.double.item(self.first), self.double.item(self.second)
        comments = [one.id for one in first.comments]
        return {
            described.called("project_get").answer["id"]: project.id,
            described.called("work_item_create").answer["id"]: first.id,
            described.called("work_item_create_minimal").answer["id"]: second.id,
            described.called("label_create").answer["id"]: next(iter(project.labels)),
            described.called("comment_create").answer["id"]: comments[0] if comments else NOWHERE,
            **{there[name]: states[name] for name in there},
        }


def _replaced(text: str, ids: Mapping[str, str]) -> str:
    for old, new in ids.items():
        text = text.replace(old, new)
    return text


@pytest.fixture
def stage(double: PlaneDouble) -> Stage:
    double.add_label("agent:codex")
    headers = {"X-API-Key": API_KEY}
    base = f"{double.url}/api/v1/workspaces/acme/projects/{double.project.id}/work-items/"
    both = {"external_source": "orchestrator", "external_id": "item-1", "name": "one", "priority": "high"}
    HTTP.post(base, json=both, headers=headers).raise_for_status()
    HTTP.post(base, json={"name": "two"}, headers=headers).raise_for_status()
    return Stage(double, "ORCH-1", "ORCH-2")


def _prepare(stage: Stage, one: Recorded) -> None:
    """What had happened before that exchange was recorded."""
    first, second = stage.double.item(stage.first), stage.double.item(stage.second)
    if one.name.startswith("comment"):
        mine = {"comment_html": "<p>x</p>", "external_source": "orchestrator", "external_id": "run-1:started"}
        if one.name != "comment_create":
            stage.double.writes.keep_comment(stage.double.project, first, stage.double.user("orchestrator"), mine)
            stage.double.writes.keep_comment(stage.double.project, second, stage.double.user("orchestrator"), {})
            stage.double.writes.keep_comment(stage.double.project, second, stage.double.user("orchestrator"), {})
            stage.double.writes.keep_comment(stage.double.project, second, stage.double.user("orchestrator"), {})
    if one.name.startswith("relations_list"):
        stage.double.writes.block(first, [second.id])
    if one.name.startswith("archived"):
        first.archived_at = stage.double.space.now()
    if one.name == "work_item_create":
        first.external_id = None
    if one.name == "label_create":
        stage.double.project.labels.clear()
        stage.double.add_label("another")
    if one.name == "state_create_dup_name_409":
        stage.double.space.add_state(stage.double.project, "In Review", "#8B5CF6", "started")
    if one.name.startswith("rate_limited"):
        stage.double.api.per_minute = 0
        stage.double.api._used[API_KEY].append(time.monotonic())


def _replayed() -> list[Recorded]:
    gone = {"work_item_delete", "work_item_get_deleted_404"}
    return [one for one in described.recorded() if one.name not in NOT_STOOD_IN_FOR and one.name not in gone]


@pytest.mark.parametrize("one", _replayed(), ids=lambda one: one.name)
def test_a_recorded_request_is_answered_as_it_was_recorded(stage: Stage, one: Recorded) -> None:
    _prepare(stage, one)
    if one.name == "work_item_update_state_of_other_project_400":
        other = stage.double.add_project("OTHER")
        one = Recorded(**{**_fields(one), "body": {"state": next(iter(other.states))}})
    answer = stage.send(one)
    assert answer.status_code == one.status, answer.text
    body = answer.json() if answer.content else None
    assert _shape(body) == _shape(one.answer)
    for name in ("Retry-After", "X-RateLimit-Remaining", "X-RateLimit-Reset"):
        assert (name in answer.headers) == (name in one.answer_headers), name


def _fields(one: Recorded) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def _shape(body: Any) -> Any:
    """Keys and kinds of a body; of a list that of its first row; the words of errors as they are."""
    if isinstance(body, dict) and set(body) & FREE_KEYS:
        return {name: value if name in FREE_KEYS else _kind(value) for name, value in body.items()}
    if isinstance(body, dict) and "results" in body:
        rows = body["results"]
        return {**{name: _kind(value) for name, value in body.items()}, "results": _row(rows[0]) if rows else None}
    if isinstance(body, list):
        return [_row(body[0])] if body else []
    return _row(body)


def _row(body: Any) -> Any:
    return sorted(body) if isinstance(body, dict) else _kind(body)


def _kind(value: Any) -> str:
    # What is null in one recording has a value in another.
    return "any" if value is None or isinstance(value, str | int | float) else type(value).__name__


def test_what_is_not_stood_in_for_is_named(stage: Stage) -> None:
    assert set(NOT_STOOD_IN_FOR) < {one.name for one in described.recorded()}


def test_every_exchange_of_the_tracker_is_as_plane_describes_it(plane: PlaneWorld) -> None:
    """A walk through all that the tracker does; requests of ours and answers of the stand-in, each held against it."""
    first = plane.add("one")
    second = plane.add("two", "words", priority=3, blocked_by=(first,))
    for state in TrackerState:
        plane.tracker.set_state(second, state)
        plane.tracker.work_item(second)
    plane.tracker.add_comment(second, "m", "words")
    plane.tracker.add_comment(second, "m", "words")
    plane.tracker.changed_since(None, 100)
    by_somebody = {"data": {"project": plane.double.project.id}, "activity": {"actor": {"id": "x"}}}
    plane.tracker.hint("issue", json.dumps(by_somebody).encode())
    exchanges = plane.double.exchanges
    assert len(exchanges) > 30
    kinds = {(one.request.method, one.request.path.rstrip("/").rpartition("/")[2][:5]) for one in exchanges}
    assert {method for method, _ in kinds} == {"GET", "POST", "PATCH"}
    assert [text for text in map(described.problem, exchanges) if text] == []


def test_a_wrong_answer_of_the_stand_in_would_be_seen(plane: PlaneWorld) -> None:
    """The check itself: an answer with a number for a name is not as described."""
    plane.add("one")
    plane.double.project.name = 7  # type: ignore[assignment]  # on purpose
    plane.tracker.changed_since(None, 1)
    assert any("the answer 200" in described.problem(one) for one in plane.double.exchanges)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def test_a_delivery_of_the_stand_in_has_the_keys_of_a_recorded_one(double: PlaneDouble, receiver: Receiver) -> None:
    double.add_label("agent:codex")
    double.add_webhook(receiver.url, secret="s")
    key = double.add_item("one", labels=("agent:codex",))
    double.move(key, "In Progress")
    double.comment(key, "<p>Please retry</p>")
    double.worker.wait_until_idle()
    expected = {one["name"]: one for one in described.deliveries()}
    pairs = (
        ("issue", "created", "issue_created_by_ui"),
        ("issue", "updated", "issue_updated_state_by_ui"),
        ("issue_comment", "created", "issue_comment_created_by_ui"),
    )
    for event, action, name in pairs:
        found = [one for one in receiver.got if one.json["event"] == event and one.json["action"] == action]
        assert len(found) == 1, (event, action)
        there = json.loads(expected[name]["raw_body"])
        assert _keys(found[0].json) == _keys(there)
        assert found[0].json["activity"]["field"] == there["activity"]["field"]
        sent = {header.lower() for header in found[0].headers}
        assert {header.lower() for header in expected[name]["headers"]} <= sent | {"host"}
        right = hmac.new(b"s", found[0].body, hashlib.sha256).hexdigest()
        assert found[0].headers["X-Plane-Signature"] == right


def _keys(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: _keys(value) for name, value in body.items() if name not in ("assignees", "labels")}
    return None


def test_a_recorded_signature_is_the_one_that_we_would_make() -> None:
    secret = described.recorded_secret().encode()
    for one in described.deliveries():
        right = hmac.new(secret, one["raw_body"].encode(), hashlib.sha256).hexdigest()
        assert one["headers"]["X-Plane-Signature"] == right
