"""Work items by the command line, on a real database and a real repository."""

from __future__ import annotations

import json
import threading
import time

import pytest

from orchestrator.adapters.host import LinuxHost
from orchestrator.cli import exits
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import Actor
from orchestrator.store import leases, tasks
from orchestrator.store.database import Store
from tests.cli.conftest import Orch, change, start
from tests.engine.real_engine import World

HOST = LinuxHost("here", lambda owner: False)


def hold(store: Store, task_id: int) -> HeldLease:
    with store.transaction() as connection:
        held = leases.acquire(connection, task_id, leases.Entry("an edge", Actor.OPERATOR, HOST.myself()), HOST)
    assert isinstance(held, HeldLease)
    return held


def park(store: Store, task_id: int, reason: str) -> None:
    change(
        store,
        "UPDATE tasks SET parked_reason = :r, parked_at = clock_timestamp() WHERE id = :t",
        r=reason,
        t=task_id,
    )


def test_an_added_item_is_on_the_board_with_its_reasons_and_its_history(orch: Orch, world: World) -> None:
    added = orch("add", "DEMO", "Say hello", "--priority", "3", "--json")
    assert added.data == {"item": "DEMO-1"}
    board = orch("status", "--json").data["items"]
    assert [(row["work_item"], row["stage"], row["priority"]) for row in board] == [("DEMO-1", "analysis", 3)]
    assert "Say hello" in orch("status").out
    assert orch("why", "DEMO-1", "--json").data["stage"] == "analysis"
    kinds = [json.loads(line)["kind"] for line in orch("log", "DEMO-1", "--json").out.splitlines()]
    assert kinds == ["task.created", "job.queued"]
    assert orch("effects", "DEMO-1", "--json").data == []


def test_the_board_says_how_to_begin_when_it_is_empty(orch: Orch, world: World) -> None:
    assert "orch add" in orch("status").out


def test_an_item_that_waits_for_another_is_added_with_it(orch: Orch, world: World) -> None:
    orch("add", "DEMO", "First")
    assert orch("add", "DEMO", "Second", "--blocked-by", "DEMO-1").out == "DEMO-2\n"
    assert orch("status", "DEMO-2", "--json").data["blocked_by"] == ["DEMO-1"]


def test_a_broker_that_is_down_does_not_keep_an_item_from_being_added(orch: Orch, world: World) -> None:
    answer = orch("add", "DEMO", "Say hello")
    assert (answer.code, answer.out) == (exits.DONE, "DEMO-1\n")
    assert "broker" in answer.err


def test_a_nudge_is_in_the_queue_when_the_broker_answers(
    orch: Orch, world: World, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kombu.connection import Connection

    monkeypatch.setenv("ORCH_BROKER_URL", broker_url)
    assert orch("add", "DEMO", "Say hello").err == ""
    with Connection(broker_url) as connection:
        queue = connection.SimpleQueue("edges")
        message = queue.get(timeout=60)
        assert message.headers["task"] == "orchestrator.drive"
        assert "DEMO-1" in message.headers["kwargsrepr"]
        message.ack()
        queue.close()


NEED_AN_ITEM = (
    ("status", "NO-1"),
    ("why", "NO-1"),
    ("log", "NO-1"),
    ("effects", "NO-1"),
    ("wait", "NO-1"),
    ("stop", "NO-1", "--yes"),
    ("retry", "NO-1"),
    ("approve", "NO-1", "--yes"),
    ("reject", "NO-1", "--why", "no"),
    ("release-lease", "NO-1", "--yes"),
)


def test_an_unknown_item_is_named_with_where_to_look(orch: Orch, world: World) -> None:
    for arguments in NEED_AN_ITEM:
        answer = orch(*arguments)
        assert (answer.code, answer.out) == (exits.WRONG_USE, ""), arguments
        assert "NO-1" in answer.err
        assert "orch status" in answer.err


def test_an_unknown_project_is_answered_with_those_there_are(orch: Orch, world: World, store: Store) -> None:
    for arguments in (("add", "SHOP", "T"), ("pause", "SHOP"), ("lane", "pause", "SHOP")):
        answer = orch(*arguments)
        assert answer.code == exits.WRONG_USE
        assert "SHOP" in answer.err
        assert "DEMO" in answer.err
    assert orch("status", "--json").data["items"] == []


def test_what_cannot_be_taken_back_needs_yes_off_a_terminal(orch: Orch, world: World, store: Store) -> None:
    task = start(store)
    hold(store, task.id)
    acts = (("release-lease", "DEMO-1"), ("approve", "DEMO-1"), ("stop", "DEMO-1"))
    for act in acts:
        refused = orch(*act)
        assert refused.code == exits.WRONG_USE
        assert "--yes" in refused.err
    with store.snapshot() as connection:
        row = connection.exec_driver_sql("SELECT stop_requested_at, approved_at, lease_epoch FROM tasks").one()
    assert tuple(row) == (None, None, 1)
    assert [orch(*act, "--yes").code for act in acts] == [exits.DONE] * 3


def test_an_act_is_recorded_with_who_did_it(orch: Orch, world: World, store: Store) -> None:
    start(store)
    orch("stop", "DEMO-1", "--yes")
    orch("pause", "DEMO", "--reason", "lunch")
    stopped = orch("status", "DEMO-1", "--json").data["stop"]["requested_by"]
    assert "@" in stopped
    lever = orch("status", "--json").data["switches"]["levers"][0]
    assert (lever["name"], lever["scope"], lever["reason"], lever["set_by"]) == ("pause", "DEMO", "lunch", stopped)


def test_a_second_stop_changes_nothing_and_says_so(orch: Orch, world: World, store: Store) -> None:
    start(store)
    assert "requested" in orch("stop", "DEMO-1", "--yes", "--json").data["told"]
    again = orch("stop", "DEMO-1", "--yes")
    assert again.code == exits.DONE
    assert "DEMO-1" in again.out


def test_a_lease_that_nobody_holds_or_that_has_another_epoch_is_not_released(
    orch: Orch, world: World, store: Store
) -> None:
    task = start(store)
    assert orch("release-lease", "DEMO-1", "--yes").code == exits.CHANGED
    held = hold(store, task.id)
    assert orch("release-lease", "DEMO-1", "--yes", "--epoch", str(held.epoch + 7)).code == exits.CHANGED
    assert orch("release-lease", "DEMO-1", "--yes", "--epoch", str(held.epoch)).code == exits.DONE


def test_only_a_parked_item_is_retried(orch: Orch, world: World, store: Store) -> None:
    task = start(store)
    refused = orch("retry", "DEMO-1")
    assert refused.code == exits.WRONG_USE
    assert "orch why DEMO-1" in refused.err
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE jobs SET status = 'finished', finished_at = now()")
    park(store, task.id, "3 attempts of 3")
    assert orch("why", "DEMO-1", "--json").data["reasons"] == ["parked: 3 attempts of 3"]
    assert orch("retry", "DEMO-1").code == exits.DONE
    assert orch("why", "DEMO-1", "--json").data["state"] != "parked"


def test_a_rejection_says_why(orch: Orch, world: World, store: Store) -> None:
    start(store)
    assert orch("reject", "DEMO-1").code == exits.WRONG_USE
    assert orch("reject", "DEMO-1", "--why", " ").code == exits.WRONG_USE
    assert orch("reject", "DEMO-1", "--why", "too slow").code == exits.DONE
    assert orch("status", "DEMO-1", "--json").data["rejected_why"] == "too slow"


def test_wait_ends_with_a_code_for_each_way_it_can_end(orch: Orch, world: World, store: Store) -> None:
    reached, slow, parked, cancelled = (start(store, f"DEMO-{n}") for n in range(1, 5))
    change(store, "UPDATE tasks SET stage = 'deploy', stage_seq = 6 WHERE id = :t", t=reached.id)
    park(store, parked.id, "a person must look")
    change(store, "UPDATE tasks SET stage = 'cancelled', stage_seq = 1 WHERE id = :t", t=cancelled.id)
    assert orch("wait", "DEMO-1", "--for", "testing").code == exits.DONE
    late = orch("wait", slow.work_item, "--timeout", "0.1", "--json")
    assert (late.code, late.data["exit_code"]) == (exits.CANCELLED, exits.CANCELLED)
    waits = orch("wait", "DEMO-3", "--timeout", "5")
    assert waits.code == exits.NEEDS_PERSON
    assert "a person must look" in waits.out
    assert orch("wait", "DEMO-4", "--timeout", "5").code == exits.FAILED


def test_wait_takes_times_as_people_say_them(orch: Orch, world: World, store: Store) -> None:
    start(store)
    assert orch("wait", "DEMO-1", "--for", "analysis", "--timeout", "2h").code == exits.DONE
    assert "90, 15m, 2h" in orch("wait", "DEMO-1", "--timeout", "soon").err.replace("90, 15m, 2h.", "90, 15m, 2h")


def test_a_followed_log_shows_the_last_event_of_an_item_and_ends(orch: Orch, world: World, store: Store) -> None:
    task = start(store)

    def end_it() -> None:
        time.sleep(0.2)
        with store.transaction("somebody") as connection:
            tasks.request_stop(connection, task.id, "ann")
        change(
            store,
            "UPDATE tasks SET stage = 'cancelled', stage_seq = 1, stop_acknowledged_at = now() WHERE id = :t",
            t=task.id,
        )

    ender = threading.Thread(target=end_it)
    ender.start()
    answer = orch("log", "DEMO-1", "-f")
    ender.join()
    assert answer.code == exits.DONE
    assert "stop.requested" in answer.out


def test_a_title_of_others_cannot_steer_the_terminal(orch: Orch, world: World, store: Store) -> None:
    start(store, title="\x1b[2J\x9b2Jgone")
    for command in (("status",), ("status", "DEMO-1")):
        shown = orch(*command).out
        assert not {"\x1b", "\x9b"} & set(shown)
        assert "gone" in shown


def test_levers_are_thrown_shown_and_put_back(orch: Orch, world: World) -> None:
    assert orch("resume", "--json").data == {"resumed": "*", "was_paused": False}
    orch("pause")
    orch("panic", "--reason", "smoke")
    orch("lane", "pause", "DEMO")
    names = [one["name"] for one in orch("status", "--json").data["switches"]["levers"]]
    assert sorted(names) == ["lane", "panic", "pause"]
    assert "paused: DEMO/main" in orch("lane", "list").out
    assert orch("resume", "--json").data["was_paused"]
    assert orch("panic", "--end", "--json").data["was"]
    assert orch("lane", "resume", "DEMO", "--json").data["was_paused"]
    assert orch("status", "--json").data["switches"]["levers"] == []


def test_a_node_is_drained_by_its_name_and_an_unknown_one_is_refused(orch: Orch, world: World, store: Store) -> None:
    from orchestrator.store import nodes

    assert orch("drain", "elsewhere").code == exits.WRONG_USE
    with store.transaction() as connection:
        nodes.register(connection, HOST, fresh_s=60)
    assert orch("drain").code == exits.DONE
    assert [one["draining"] for one in orch("worker", "list", "--json").data["nodes"]] == [True]
    orch("drain", "here", "--end")
    assert "works" in orch("worker", "list").out
