"""What people and programs are shown agrees with the rows."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine, text

from orchestrator.domain.ownership import Owner
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.store import counters, jobs, ledger, read_models, stage_commits, switches, tasks, ticks
from orchestrator.store.database import Store
from orchestrator.store.jobs import NewRun
from orchestrator.store.read_models import ItemState
from orchestrator.store.tasks import TaskRef
from tests.rows import QUEUE_KEYS, start_task, take

ME = Owner("n1", "boot-a", 7, 100, 1000)


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


def states(store: Store) -> dict[str, ItemState]:
    with store.snapshot() as connection:
        return {row.work_item: row.state for row in read_models.board(connection)}


def test_the_board_shows_live_items_by_priority_then_age_then_finished_ones(store: Store) -> None:
    first, _second = start_task(store, "D-1"), start_task(store, "D-2")
    start_task(store, "D-3", priority=5)
    end(store, first)
    with store.snapshot() as connection:
        assert [row.work_item for row in read_models.board(connection)] == ["D-3", "D-2", "D-1"]
        assert [row.work_item for row in read_models.board(connection, ended=0)] == ["D-3", "D-2"]


def end(store: Store, task: TaskRef) -> None:
    held = take(store, task, ME)
    step = stage_commits.StageCommit(Stage.ANALYSIS, 0, Stage.CANCELLED)
    with store.transaction() as connection:
        stage_commits.commit_stage_cas(connection, held, step)
        tasks.acknowledge_stop(connection, task.id)


def test_each_state_of_an_item_is_told_by_its_word(store: Store) -> None:
    start_task(store, "D-1")
    start_task(store, "D-2", blocked_by=("D-1",))
    working, stopping, parked, ended = (start_task(store, f"D-{n}") for n in (3, 4, 5, 6))
    take(store, working, ME)
    end(store, ended)
    held = take(store, parked, ME)
    with store.transaction() as connection:
        tasks.request_stop(connection, stopping.id, "ann")
        at = tasks.SameStage(Stage.ANALYSIS, 0)
        tasks.park_if_epoch_holds(connection, held, at, "no agent")
    assert states(store) == {
        "D-1": ItemState.WAITING,
        "D-2": ItemState.BLOCKED,
        "D-3": ItemState.WORKING,
        "D-4": ItemState.STOPPING,
        "D-5": ItemState.PARKED,
        "D-6": ItemState.CANCELLED,
    }


def test_an_item_started_again_is_one_line_of_the_board(store: Store) -> None:
    end(store, start_task(store))
    start_task(store)
    with store.snapshot() as connection:
        rows = read_models.board(connection)
        page = read_models.item(connection, "D-1")
    assert [row.state for row in rows] == [ItemState.WAITING]
    assert page is not None
    assert page.passages == 2


def test_reasons_older_than_the_owner_inside_are_not_shown_as_why_it_waits(store: Store) -> None:
    task = start_task(store)
    with store.transaction() as connection:
        tasks.store_reasons(connection, task.id, ["everything is paused"], None)
    take(store, task, ME)
    with store.snapshot() as connection:
        assert read_models.board(connection)[0].reasons == ("plane is inside analysis -> architecture",)


def test_an_item_page_holds_runs_gates_effects_and_lease_and_is_plain_json(store: Store) -> None:
    task = start_task(store)
    with store.transaction() as connection:
        job = connection.execute(text("SELECT id FROM jobs")).scalar_one()
        jobs.begin(connection, job, NewRun("r1", 0, "command", "n1", "/runs/r1", "", ME))
        jobs.adopt_run(connection, "r1", ME)
    held = take(store, task, ME)
    with store.transaction() as connection:
        key = ledger.EffectKey(0, EffectKind.TRACKER_COMMENT, "D-1")
        ledger.claim_if_epoch_holds(connection, held, key, {"marker": "m"})
    with store.snapshot() as connection:
        page = read_models.item(connection, "D-1")
        events = read_models.item_events(connection, "D-1")
        later = read_models.item_events(connection, "D-1", after_id=events[0].id)
    assert page is not None
    assert (page.jobs[0].runs[0].run_id, page.jobs[0].runs[0].owner) == ("r1", "n1/100@1000")
    assert page.effects[0].status == "claimed"
    assert page.lease is not None
    assert page.lease.epoch == held.epoch
    assert [event.kind for event in events][:1] == ["task.created"]
    assert later == events[1:]
    assert json.loads(json.dumps(read_models.plain(page)))["row"]["stage"] == "analysis"


def test_an_unknown_item_has_no_page(store: Store) -> None:
    with store.snapshot() as connection:
        assert read_models.item(connection, "D-9") is None
        assert read_models.item_effects(connection, "D-9") == []


def test_the_queue_has_exactly_the_keys_of_the_contract(store: Store) -> None:
    task = start_task(store)
    take(store, task, ME)
    with store.transaction() as connection:
        ticks.record(connection, "reap", ok=True, note="nothing to do")
        counters.add(connection, "reaps_total", "1")
        switches.throw(connection, "pause", "*", "ann", "holiday")
    with store.snapshot() as connection:
        found = read_models.queue(connection, {"ORCH_REAPER_ENABLED": True})
    assert list(found) == QUEUE_KEYS
    assert (found["stages"], found["jobs"]) == ({"analysis": 1}, {"queued": 1})
    assert json.loads(json.dumps(read_models.plain(found)))["reaper"]["reaps"] == {"1": 1}
