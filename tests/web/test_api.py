"""What programs may ask, and what they are told when it cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate
from sqlalchemy import text

from orchestrator.store import leases
from orchestrator.store.database import Store
from tests.rows import park, start_task, take


def test_an_item_is_added_and_starts_at_once(api: FlaskClient, store: Store) -> None:
    answer = api.post("/api/items", json={"project": "D", "title": "a door", "body": "red", "priority": 3, "by": "ann"})
    assert (answer.status_code, answer.json) == (201, {"work_item": "D-1"})
    assert answer.headers["Location"] == "/api/items/D-1"
    found = api.get("/api/items/D-1").json
    assert (found["row"]["title"], found["row"]["priority"], found["author"]) == ("a door", 3, "ann")
    assert [one["work_item"] for one in api.get("/api/items").json["items"]] == ["D-1"]
    assert api.get("/api/items/D-1/events").json["events"][0]["kind"] == "task.created"
    assert api.get("/api/items/D-1/effects").json == {"effects": []}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"title": "t"}, 400, "project: is missing"),
        ({"project": "D"}, 400, "title: is missing"),
        ({"project": "D", "title": "  "}, 400, "title: must be a text"),
        ({"project": "D", "title": 7}, 400, "title: must be a text"),
        ({"project": "D", "title": "t", "priority": "high"}, 400, "priority: must be a whole number"),
        ({"project": "D", "title": "t", "priority": True}, 400, "priority: must be a whole number"),
        ({"project": "D", "title": "t", "blocked_by": "D-1"}, 400, "blocked_by: must be a list"),
        ({"project": "D", "title": "t", "blocked_by": ["D-77"]}, 404, "D-77"),
        ({"project": "D", "title": "t", "key": "X-1"}, 400, "not a key of this project"),
        ({"project": "NOPE", "title": "t"}, 404, "NOPE"),
        ([1], 400, "not a JSON object"),
    ],
)
def test_a_wrong_item_names_what_is_wrong_and_adds_nothing(
    api: FlaskClient, store: Store, body: object, status: int, said: str
) -> None:
    answer = api.post("/api/items", json=body)
    assert answer.status_code == status
    assert said in answer.json["error"]["message"]
    with store.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM local_items")).scalar_one() == 0


def test_a_body_that_is_no_json_is_a_bad_request(api: FlaskClient) -> None:
    answer = api.post("/api/items", data="{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad_request")


def test_a_nul_in_a_text_is_replaced(api: FlaskClient) -> None:
    api.post("/api/items", json={"project": "D", "title": "a\0b"})
    assert api.get("/api/items/D-1").json["row"]["title"] == "a\ufffdb"


@pytest.mark.parametrize("path", ["", "/events", "/effects"])
def test_an_unknown_item_is_not_found(api: FlaskClient, path: str) -> None:
    answer = api.get(f"/api/items/D-9{path}")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("act", ["stop", "retry", "approve", "reject"])
def test_an_act_on_an_unknown_item_is_not_found(api: FlaskClient, act: str) -> None:
    assert api.post(f"/api/items/D-9/{act}", json={"why": "w"}).status_code == 404


def test_stop_is_recorded_with_who(api: FlaskClient, store: Store) -> None:
    start_task(store)
    assert api.post("/api/items/D-1/stop", json={"by": "ann"}).json["message"] == "D-1: STOP is requested"
    assert api.get("/api/items/D-1").json["stop"]["requested_by"] == "ann"
    again = api.post("/api/items/D-1/stop")
    assert (again.status_code, again.json["message"]) == (200, "D-1: a STOP was requested already")


def test_retry_needs_a_parked_item(api: FlaskClient, store: Store) -> None:
    task = start_task(store)
    refused = api.post("/api/items/D-1/retry")
    assert refused.status_code == 400
    assert "not parked" in refused.json["error"]["message"]
    park(store, task)
    assert api.get("/api/items/D-1").json["row"]["state"] == "parked"
    assert api.post("/api/items/D-1/retry").status_code == 200
    assert api.get("/api/items/D-1").json["row"]["state"] == "waiting"


def test_approval_and_rejection_are_recorded_with_who_and_why(api: FlaskClient, store: Store) -> None:
    start_task(store)
    assert api.post("/api/items/D-1/approve").status_code == 200
    assert api.get("/api/items/D-1").json["approved_by"] == "api"
    assert api.post("/api/items/D-1/reject", json={}).status_code == 400
    assert api.post("/api/items/D-1/reject", json={"why": "too slow", "by": "bea"}).status_code == 200
    found = api.get("/api/items/D-1").json
    assert (found["approved_by"], found["rejected_by"], found["rejected_why"]) == (None, "bea", "too slow")


def test_events_are_read_on_from_where_one_was(api: FlaskClient, store: Store) -> None:
    start_task(store)
    api.post("/api/items/D-1/stop")
    first = api.get("/api/items/D-1/events?limit=1").json["events"]
    rest = api.get(f"/api/items/D-1/events?after={first[0]['id']}").json["events"]
    assert [one["kind"] for one in [*first, *rest]][-1] in ("stop.requested", "job.cancelled")
    assert api.get("/api/items/D-1/events?after=x").status_code == 400
    assert api.get("/api/items/D-1/events?after=-1").status_code == 400


# --- the forced release -----------------------------------------------------------------------------------


def test_a_held_lease_is_released_once_and_with_who(api: FlaskClient, store: Store) -> None:
    held = take(store, start_task(store))
    assert api.post("/transition-lease/release?work_item=D-1&by=ann").status_code == 200
    again = api.post("/transition-lease/release?work_item=D-1")
    assert (again.status_code, again.json["error"]["code"]) == (409, "changed_under_you")
    with store.transaction() as connection:
        assert not leases.holds(connection, held)
        forced = connection.execute(text("SELECT actor FROM events WHERE kind = 'lease.forced'"))
        assert list(forced.scalars()) == ["operator:ann"]


def test_a_release_without_an_item_or_of_an_unknown_one_is_refused(api: FlaskClient) -> None:
    assert api.post("/transition-lease/release").status_code == 400
    assert api.post("/transition-lease/release?work_item=D-9").status_code == 404
    assert api.get("/transition-lease/release?work_item=D-9").status_code == 405


# --- descriptions and errors ------------------------------------------------------------------------------


def test_the_description_is_valid_and_names_every_route_of_the_api(api: FlaskClient, app: Flask) -> None:
    found = api.get("/api/openapi.json").json
    assert found is not None
    validate(found)
    described = {
        (method.upper(), path) for path, calls in found["paths"].items() for method in calls if method != "parameters"
    }
    served = {
        (method, rule.rule.replace("<work_item>", "{work_item}"))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}
        if rule.endpoint.partition(".")[0] in ("api", "health", "webhooks")
    }
    assert described == served


def test_a_defect_is_counted_and_tells_the_asker_nothing_of_itself(
    make_app: Callable[..., Flask], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @app.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError("secret detail")

    answer = app.test_client().get("/broken", headers={"Authorization": "Bearer a-token-of-tests"})
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    with store.transaction() as connection:
        counted = connection.execute(text("SELECT label, value FROM counters WHERE name = 'web_errors_total'"))
        assert [tuple(row) for row in counted] == [("/broken", 1)]


def test_a_database_that_is_down_is_said_with_503(make_app: Callable[..., Flask]) -> None:
    app = make_app(database_url="postgresql+psycopg://postgres@/x?host=/nowhere")
    answer = app.test_client().get("/api/items", headers={"Authorization": "Bearer a-token-of-tests"})
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert json.dumps(answer.json)
