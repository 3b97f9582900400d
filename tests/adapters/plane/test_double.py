"""The stand-in has the traps of the real one: whoever relies on more than Plane gives is found out here."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.demo.doubles.plane.double import API_KEY
from orchestrator.demo.doubles.plane.hooks import ATTEMPTS
from tests.adapters.contracts.at_once import at_once
from tests.processes import until
from tests.receiver import Receiver

HTTP = httpx.Client(headers={"X-API-Key": API_KEY}, limits=httpx.Limits(max_keepalive_connections=0), timeout=20)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def _items(double: PlaneDouble) -> str:
    return f"{double.url}/api/v1/workspaces/acme/projects/{double.project.id}/work-items/"


def _comments(double: PlaneDouble, key: str) -> str:
    return f"{_items(double)}{double.item(key).id}/comments/"


@pytest.mark.parametrize("status", [200, 410, 500])
def test_any_answer_counts_as_delivered(double: PlaneDouble, receiver: Receiver, status: int) -> None:
    receiver.status = status
    hook = double.add_webhook(receiver.url)
    double.add_item("one")
    double.worker.wait_until_idle()
    assert len(receiver.got) == 1 and hook.is_active


def test_a_dropped_connection_is_tried_again_with_the_same_body_and_a_new_id(
    double: PlaneDouble, receiver: Receiver
) -> None:
    receiver.drops = 2
    double.add_webhook(receiver.url)
    double.add_item("one")
    double.worker.wait_until_idle()
    assert len(receiver.got) == 3
    assert len({one.body for one in receiver.got}) == 1
    assert len({one.headers["X-Plane-Signature"] for one in receiver.got}) == 1
    assert len({one.headers["X-Plane-Delivery"] for one in receiver.got}) == 3


def test_after_six_failed_attempts_the_webhook_is_off_and_what_follows_is_dropped(
    double: PlaneDouble, receiver: Receiver
) -> None:
    receiver.drops = 1000
    hook = double.add_webhook(receiver.url)
    key = double.add_item("one")
    double.worker.wait_until_idle()
    assert len(receiver.got) == ATTEMPTS and not hook.is_active
    receiver.drops = 0
    double.move(key, "STOP")
    double.worker.wait_until_idle()
    assert len(receiver.got) == ATTEMPTS


def test_one_request_with_three_fields_is_three_deliveries(double: PlaneDouble, receiver: Receiver) -> None:
    key = double.add_item("one")
    double.worker.wait_until_idle()
    double.add_webhook(receiver.url)
    values = {"name": "other", "priority": "low", "state": double.state("Done").id}
    HTTP.patch(f"{_items(double)}{double.item(key).id}/", json=values).raise_for_status()
    double.worker.wait_until_idle()
    assert sorted(one.json["activity"]["field"] for one in receiver.got) == ["name", "priority", "state"]
    HTTP.patch(f"{_items(double)}{double.item(key).id}/", json=values).raise_for_status()
    double.worker.wait_until_idle()
    assert len(receiver.got) == 3, "what it has already is told to nobody"


def test_three_quick_changes_are_three_deliveries_of_the_last_state(double: PlaneDouble, receiver: Receiver) -> None:
    key = double.add_item("one")
    double.worker.wait_until_idle()
    double.add_webhook(receiver.url)
    double.worker.hold()
    for name in ("In Progress", "STOP", "Done"):
        double.move(key, name)
    double.worker.release()
    double.worker.wait_until_idle()
    assert [one.json["data"]["state"]["name"] for one in receiver.got] == ["Done"] * 3
    assert {one.json["activity"]["field"] for one in receiver.got} == {"state_id"}


def test_a_deleted_item_and_a_relation_are_told_to_nobody(double: PlaneDouble, receiver: Receiver) -> None:
    one, two = double.add_item("one"), double.add_item("two")
    double.worker.wait_until_idle()
    double.add_webhook(receiver.url)
    before = double.item(two).updated_at
    double.writes.block(double.item(two), [double.item(one).id])
    double.delete(one)
    double.worker.wait_until_idle()
    assert receiver.got == []
    assert double.item(two).updated_at > before


def test_six_comments_with_one_external_id_at_once_are_more_than_one(double: PlaneDouble) -> None:
    key = double.add_item("one")
    body = {"comment_html": "<p>x</p>", "external_source": "s", "external_id": "e"}
    double.writes.race_s = 0.5
    answers = at_once(6, lambda _: HTTP.post(_comments(double, key), json=body).status_code)
    assert answers.count(201) > 1
    assert HTTP.post(_comments(double, key), json=body).status_code == 409


def test_the_limit_is_a_sliding_window_and_says_when_it_opens(double: PlaneDouble) -> None:
    double.api.per_minute = 2
    me = f"{double.url}/api/v1/users/me/"
    assert [HTTP.get(me).headers["X-RateLimit-Remaining"] for _ in range(2)] == ["1", "0"]
    refused = HTTP.get(me)
    assert refused.status_code == 429 and 0 < int(refused.headers["Retry-After"]) <= 61
    assert "X-RateLimit-Remaining" not in refused.headers


@pytest.mark.parametrize("done", [True, False])
def test_ordered_failures_happen_by_request_count(double: PlaneDouble, done: bool) -> None:
    key = double.add_item("one")
    double.drop("POST", "/comments/$", done=done)
    double.fail("POST", "/comments/$", done=done)
    texts = ("a", "b", "c")
    bodies = [{"comment_html": f"<p>{one}</p>"} for one in texts]
    with pytest.raises(httpx.TransportError):
        HTTP.post(_comments(double, key), json=bodies[0])
    assert HTTP.post(_comments(double, key), json=bodies[1]).status_code == 500
    assert HTTP.post(_comments(double, key), json=bodies[2]).status_code == 201
    assert double.comments(key) == (["a", "b", "c"] if done else ["c"])


def test_a_held_answer_is_a_time_out(double: PlaneDouble) -> None:
    key = double.add_item("one")
    held = double.hold("POST", "/comments/$", done=True)
    with pytest.raises(httpx.ReadTimeout):
        HTTP.post(_comments(double, key), json={"comment_html": "<p>a</p>"}, timeout=0.5)
    held.release()
    assert until(lambda: double.comments(key)) == ["a"]
