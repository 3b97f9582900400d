"""From a kept delivery to what it hints at: read again, never believed, and never in the way of the next."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.demo.doubles.plane.double import ORCHESTRATOR
from orchestrator.engine import deliveries, polling
from orchestrator.ports import Hint
from orchestrator.store import inbox
from tests.engine.plane_engine import PROJECT, keep, on_plane, plane_world
from tests.engine.real_engine import World


@pytest.fixture
def double() -> Iterator[PlaneDouble]:
    with PlaneDouble(PROJECT) as made:
        yield made


@pytest.fixture
def world(tmp_path: Path, database_url: str, double: PlaneDouble) -> World:
    return plane_world(tmp_path, database_url, double)


def about(double: PlaneDouble, key: str, *, by: str = "ann", **more: Any) -> bytes:
    """A delivery about an item, with data that is older than the item."""
    item = double.item(key)
    data = {"id": item.id, "project": double.project.id, "sequence_id": item.number, "name": "stale"}
    activity = {"field": "state", "actor": {"id": double.user(by).id}}
    return json.dumps({"event": "issue", "action": "updated", "data": {**data, **more}, "activity": activity}).encode()


def stages(world: World) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in world.rows("SELECT work_item, stage FROM tasks ORDER BY id")]


def row(world: World, delivery: int) -> Mapping[str, Any]:
    with world.engine.store.transaction() as connection:
        found = inbox.get(connection, delivery)
    assert found is not None
    return {"processed": found.processed_at is not None, "error": found.error, "item": found.work_item}


def reads(double: PlaneDouble) -> list[str]:
    return [
        one.request.path.rstrip("/").rpartition("/")[2] for one in double.exchanges if "work-items" in one.request.path
    ]


def test_only_the_item_that_a_delivery_names_is_read_and_its_data_is_not_believed(
    world: World, double: PlaneDouble
) -> None:
    double.add_item("one")
    key = double.add_item("two")
    delivery = keep(world.engine, about(double, key))
    deliveries.process_delivery(world.engine, delivery)
    assert stages(world) == [(key, "analysis")]
    assert world.rows("SELECT title FROM tasks")[0][0] == "two"
    assert reads(double) == [key, "relations"]
    assert row(world, delivery) == {"processed": True, "error": "", "item": key}


@pytest.mark.parametrize(
    "body",
    [
        {"event": "issue_comment", "data": {"project": "P", "issue": "I"}},
        {"event": "module", "data": {"project": "P"}},
        {"event": "issue", "data": {"project": "another project"}},
    ],
)
def test_what_means_nothing_to_us_costs_no_read(world: World, double: PlaneDouble, body: dict[str, Any]) -> None:
    double.add_item("one")
    text = json.dumps(body).replace('"P"', f'"{double.project.id}"')
    delivery = keep(world.engine, text.encode())
    deliveries.process_delivery(world.engine, delivery)
    assert row(world, delivery)["processed"] and reads(double) == [] and stages(world) == []


def test_our_own_write_is_recognised_by_its_actor_and_ignored(world: World, double: PlaneDouble) -> None:
    key = double.add_item("one")
    deliveries.process_delivery(world.engine, keep(world.engine, about(double, key, by=ORCHESTRATOR)))
    assert stages(world) == [] and reads(double) == []
    assert world.rows("SELECT note, processed_at IS NOT NULL FROM inbox") == [("own write", True)]
    assert not world.nudges.held


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"data": 7}', b'{"event": "issue", "data": {"id": "gone"}}', b"\xff"])
def test_what_is_not_understood_is_a_hint_at_everything(world: World, double: PlaneDouble, body: bytes) -> None:
    key = double.add_item("one")
    delivery = keep(world.engine, body)
    deliveries.process_delivery(world.engine, delivery)
    assert stages(world) == [(key, "analysis")] and row(world, delivery)["processed"]


def test_several_deliveries_about_one_item_are_one_look(world: World, double: PlaneDouble) -> None:
    key = double.add_item("one")
    for number in range(20):
        keep(world.engine, about(double, key, n=number), key=str(number))
    assert deliveries.sweep_inbox(world.engine) == 20
    assert reads(double).count(key) == 1
    assert world.rows("SELECT count(*) FROM inbox WHERE processed_at IS NULL")[0][0] == 0


class Broken:
    """An adapter with a defect."""

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracker, name)

    def hint(self, event: str, body: bytes) -> Hint | None:
        if b"poison" in body:
            raise ZeroDivisionError("a defect")
        found: Hint | None = self._tracker.hint(event, body)
        return found


def test_one_that_cannot_be_processed_is_kept_and_never_holds_up_the_next(world: World, double: PlaneDouble) -> None:
    ports = world.engine.project(PROJECT)
    broken = replace(ports, tracker=Broken(ports.tracker))
    world.engine = replace(world.engine, project=lambda key: broken)
    key = double.add_item("one")
    poison = keep(world.engine, b'{"poison": 1}', key="a")
    good = keep(world.engine, about(double, key), key="b")
    assert deliveries.sweep_inbox(world.engine) == 2
    assert row(world, good)["processed"] and stages(world) == [(key, "analysis")]
    assert row(world, poison) == {"processed": False, "error": "a defect", "item": None}
    assert world.rows("SELECT attempts FROM inbox WHERE id = %s", poison)[0][0] == 1
    assert world.rows("SELECT value FROM counters WHERE name = 'delivery_failures_total'")[0][0] == 1


def test_a_closed_window_is_waited_for_as_long_as_the_sender_says(world: World, double: PlaneDouble) -> None:
    key = double.add_item("one")
    delivery = keep(world.engine, about(double, key))
    double.limit("GET", "/work-items/", retry_after_s=50)
    deliveries.process_delivery(world.engine, delivery)
    assert not row(world, delivery)["processed"]
    wait = "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM inbox"
    assert 40 < float(world.rows(wait)[0][0]) <= 50


def test_processed_deliveries_are_forgotten_after_their_time_and_others_never(world: World) -> None:
    old = [keep(world.engine, b"{}", key=str(number), source="nobody") for number in range(3)]
    deliveries.sweep_inbox(world.engine)
    waiting = keep(world.engine, b"{}", key="waiting", source="nobody")
    world.change("UPDATE inbox SET processed_at = now() - interval '31 days' WHERE id < %s", old[2])
    world.change("UPDATE inbox SET received_at = now() - interval '90 days', not_before = now() + interval '1 hour'")
    deliveries.sweep_inbox(world.engine)
    assert [one[0] for one in world.rows("SELECT id FROM inbox ORDER BY id")] == [old[2], waiting]


# --- what people do, and what no webhook tells -----------------------------------------------------------


def test_a_card_that_is_moved_to_stop_stops_its_task(world: World, double: PlaneDouble) -> None:
    key = double.add_item("one")
    deliveries.process_delivery(world.engine, keep(world.engine, about(double, key), key="1"))
    double.move(key, "STOP")
    deliveries.process_delivery(world.engine, keep(world.engine, about(double, key), key="2"))
    assert "moved to STOP" in world.rows("SELECT stop_requested_by FROM tasks")[0][0]


def poll(world: World) -> str:
    world.change("UPDATE ticks SET last_at = last_at - interval '1 hour'")
    return polling.poll(world.engine, PROJECT)


def test_a_deleted_item_is_found_by_the_poll_and_stops_its_task(world: World, double: PlaneDouble) -> None:
    key = double.add_item("one")
    assert poll(world) == "polled" and stages(world) == [(key, "analysis")]
    double.delete(key)
    assert poll(world) == "polled"
    assert "there is no work item" in world.rows("SELECT stop_requested_by FROM tasks")[0][0]


def test_a_relation_that_no_delivery_tells_is_found_by_the_poll(world: World, double: PlaneDouble) -> None:
    key, blocker = double.add_item("one"), double.add_item("two", state="Backlog")
    poll(world)
    double.writes.block(double.item(key), [double.item(blocker).id])
    double.worker.wait_until_idle()
    poll(world)
    assert world.rows("SELECT blocked_by FROM tasks")[0][0] == [blocker]


def test_one_item_that_cannot_be_read_hides_no_other_from_the_poll(world: World, double: PlaneDouble) -> None:
    one, two = double.add_item("one"), double.add_item("two")
    double.fail("GET", f"/{one}/$", done=False)
    with pytest.raises(Exception, match="500"):
        poll(world)
    assert stages(world) == [(two, "analysis")]
    poll(world)
    assert stages(world) == [(two, "analysis"), (one, "analysis")]


def test_a_change_during_a_long_poll_is_for_the_next_one(world: World, double: PlaneDouble) -> None:
    """The next poll goes on from where this one began to read, not from where it ended."""
    double.add_item("one")
    held = double.hold("GET", "/relations/$", done=False)
    long = threading.Thread(target=polling.poll, args=(world.engine, PROJECT))
    long.start()
    assert held.caught.wait(20)
    meanwhile = world.rows("SELECT clock_timestamp()")[0][0]
    held.release()
    long.join(timeout=30)
    assert world.rows("SELECT last_success_at FROM ticks")[0][0] < meanwhile


# --- a webhook that tells nothing ------------------------------------------------------------------------


def silence(world: World) -> str:
    rows = world.rows("SELECT last_error FROM ticks WHERE name = 'webhook:plane'")
    return str(rows[0][0]) if rows else ""


def changed_a_minute_ago(double: PlaneDouble, key: str) -> None:
    double.item(key).updated_at -= timedelta(minutes=1)


def test_a_webhook_that_told_nothing_of_what_the_poll_found_is_named(world: World, double: PlaneDouble) -> None:
    poll(world)
    world.change("UPDATE ticks SET last_success_at = last_success_at - interval '1 hour'")
    key = double.add_item("one")
    double.worker.wait_until_idle()
    changed_a_minute_ago(double, key)
    poll(world)
    assert key in silence(world) and "see that its webhook is active" in silence(world)
    # Deliveries come again.
    keep(world.engine, b"{}", key="later")
    poll(world)
    assert silence(world) == ""


def test_a_webhook_that_told_is_not_named_though_the_poll_was_first(world: World, double: PlaneDouble) -> None:
    poll(world)
    world.change("UPDATE ticks SET last_success_at = last_success_at - interval '1 hour'")
    key = double.add_item("one")
    keep(world.engine, about(double, key))
    double.worker.wait_until_idle()
    changed_a_minute_ago(double, key)
    poll(world)
    assert stages(world) == [(key, "analysis")] and silence(world) == ""


def test_a_change_of_this_moment_is_no_silence(world: World, double: PlaneDouble) -> None:
    poll(world)
    double.add_item("one")
    poll(world)
    assert silence(world) == ""


# --- who may -------------------------------------------------------------------------------------------


def test_an_item_without_an_authorising_label_does_not_start(world: World, double: PlaneDouble) -> None:
    double.add_label("agents welcome")
    on_plane(world, double, authorising_labels=("agents welcome",))
    double.add_item("one")
    key = double.add_item("two", labels=("agents welcome",))
    poll(world)
    assert stages(world) == [(key, "analysis")]


def test_an_item_of_somebody_who_took_a_trusted_name_does_not_start(world: World, double: PlaneDouble) -> None:
    on_plane(world, double, trusted_authors=("boss@example.org",))
    double.user("ann").name = "boss@example.org"
    double.add_item("one", by="boss@example.org")
    poll(world)
    assert stages(world) == []
