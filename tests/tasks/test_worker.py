"""A real prefork worker on real stores: nudges, sweeps, inspect and control."""

from __future__ import annotations

import json
import signal
import subprocess
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from orchestrator import bootstrap
from orchestrator.adapters.host import LinuxHost
from orchestrator.domain.ownership import HeldLease, Owner
from orchestrator.domain.stages import Actor
from orchestrator.settings import load_settings
from orchestrator.store import jobs, leases, nodes, read_models
from orchestrator.store.database import Store
from orchestrator.store.jobs import NewRun
from orchestrator.store.tasks import TaskRef
from tests.processes import python, until
from tests.tasks.conftest import NODE, Worker, start_task

pytestmark = pytest.mark.slow


def _take(store: Store, task: TaskRef) -> HeldLease:
    host = LinuxHost(NODE, lambda owner: False)
    entry = leases.Entry("analysis -> architecture", Actor.OPERATOR, host.myself())
    with store.transaction() as connection:
        held = leases.acquire(connection, task.id, entry, host)
    assert isinstance(held, HeldLease)
    return held


def _reasons(store: Store, key: str) -> tuple[str, ...]:
    with store.snapshot() as connection:
        page = read_models.item(connection, key)
    assert page is not None
    return page.row.reasons


def test_a_worker_answers_people_and_moves_tasks(worker: Worker, store: Store) -> None:
    """One worker for all of it: a start takes seconds."""
    task = start_task(store)
    worker.start()
    worker.wait_ready()
    _a_drive_message_reaches_the_engine(worker, store, task)
    _inspect_shows_leases_runs_and_the_queue(worker, store, task)
    _a_lease_is_released_once_however_many_workers_are_asked(worker, store)
    _levers_are_thrown_and_put_back(worker, store)
    _the_command_line_of_celery_knows_the_commands(worker)
    _wrong_words_are_told_without_a_traceback(worker)
    _a_sweep_leaves_its_time(worker, store)
    _an_ended_child_is_told_by_its_parent(worker, store)


def _a_drive_message_reaches_the_engine(worker: Worker, store: Store, task: TaskRef) -> None:
    nudges = bootstrap.build_nudges(load_settings(worker.environ))
    nudges.drive(task.id, task.work_item, Actor.OPERATOR)
    until(lambda: _reasons(store, "D-1"), 30.0)
    assert "is not configured" in _reasons(store, "D-1")[0]
    assert nudges.lost == 0


def _inspect_shows_leases_runs_and_the_queue(worker: Worker, store: Store, task: TaskRef) -> None:
    held = _take(store, task)
    found = worker.ask("leases")
    shown = {name: found[0][name] for name in ("work_item", "epoch", "owner", "liveness")}
    assert shown == {"work_item": "D-1", "epoch": held.epoch, "owner": str(held.owner), "liveness": "alive"}
    runs = worker.ask("runs")
    assert (runs[0]["work_item"], runs[0]["status"]) == ("D-1", "queued")
    queue = worker.ask("queue")
    assert queue["stages"] == {"analysis": 1}
    assert queue["switches"]["settings"]["reaper_enabled"] is True
    assert [one["node"] for one in queue["nodes"]] == [NODE]


def _a_lease_is_released_once_however_many_workers_are_asked(worker: Worker, store: Store) -> None:
    assert worker.ask("release_lease", "work_item=D-1") == {"ok": "D-1: the lease is released"}
    assert worker.ask("release_lease", "D-1") == {"ok": "D-1: no lease is held"}
    with store.transaction() as connection:
        forced = text("SELECT actor, detail->>'why' FROM events WHERE kind = 'lease.forced'")
        assert [tuple(row) for row in connection.execute(forced)] == [
            ("operator:celery control", "released by celery control")
        ]


def _levers_are_thrown_and_put_back(worker: Worker, store: Store) -> None:
    assert worker.ask("pause", "reason=holiday") == {"ok": "paused: *"}
    assert worker.ask("panic") == {"ok": "panic: no new effect is claimed"}
    with store.transaction() as connection:
        thrown = connection.execute(text("SELECT name, reason FROM switches ORDER BY 1")).all()
    assert [tuple(row) for row in thrown] == [("panic", ""), ("pause", "holiday")]
    worker.ask("calm")
    worker.ask("resume")
    worker.ask("drain_node")
    with store.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM switches")).scalar_one() == 0
        assert [one.draining for one in nodes.all_nodes(connection)] == [True]


def _the_command_line_of_celery_knows_the_commands(worker: Worker) -> None:
    at = ("-d", f"all@{NODE}", "-t", "20")
    done = worker.celery("inspect", "--json", *at, "queue")
    assert json.loads(done.stdout)[f"all@{NODE}"]["stages"] == {"analysis": 1}, done.stderr
    done = worker.celery("control", "--json", *at, "nudge", "work_item=D-1")
    assert json.loads(done.stdout) == [{f"all@{NODE}": {"ok": "D-1: nudged"}}], done.stderr


def _wrong_words_are_told_without_a_traceback(worker: Worker) -> None:
    wrong = [
        (("release_lease",), "work_item is missing"),
        (("nudge", "work_item=D-9"), "there is no task of a work item D-9"),
        (("pause", "scop=D"), "'scop' is not an argument"),
        (("pause", "scope=NOPE"), "no project NOPE is configured"),
        (("drain_node", "draining=perhaps"), "allowed are true and false"),
    ]
    for words, said in wrong:
        answer = worker.ask(*words)
        assert said in answer["error"]
    assert "Traceback" not in worker.text()


def _a_sweep_leaves_its_time(worker: Worker, store: Store) -> None:
    nudges = bootstrap.build_nudges(load_settings(worker.environ))
    nudges.finalize_deploys()

    def summary() -> object:
        with store.transaction() as connection:
            return connection.execute(
                text("SELECT summary FROM ticks WHERE name = 'finalize-deploys'")
            ).scalar_one_or_none()

    assert until(summary, 30.0) == "nothing to do"


def _an_ended_child_is_told_by_its_parent(worker: Worker, store: Store) -> None:
    """The child that a drive stands still in is killed; its parent nudges, and another child finds the reason."""
    task = start_task(store, "D-2")
    with store.transaction() as connection:
        connection.execute(text("SELECT FROM tasks WHERE id = :t FOR UPDATE"), {"t": task.id})
        bootstrap.build_nudges(load_settings(worker.environ)).drive(task.id, "D-2", Actor.OPERATOR)
        until(lambda: _waits_for_a_lock(store), 30.0)
        assert worker.process is not None
        for child in psutil.Process(worker.process.pid).children():
            child.send_signal(signal.SIGKILL)
        until(lambda: "orchestrator.drive for D-2 died" in worker.text(), 30.0)
    until(lambda: _reasons(store, "D-2"), 30.0)


def _waits_for_a_lock(store: Store) -> bool:
    statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with store.transaction() as connection:
        return bool(connection.execute(text(statement)).scalar_one())


def test_a_starting_worker_frees_what_dead_owners_held_and_finishes_runs_of_its_node(
    worker: Worker, store: Store, tmp_path: Path
) -> None:
    """A lease of a process that is gone; and a run directory with an exit record that nobody has seen."""
    held, ended = start_task(store, "D-1"), start_task(store, "D-2")
    host = LinuxHost(NODE, lambda owner: False)
    dead = Owner(NODE, host.boot_id, host.pid_ns, 1, 7)
    with store.transaction() as connection:
        leases.acquire(connection, held.id, leases.Entry("x", Actor.PLANE, dead), host)
    _leave_an_ended_run(store, ended, tmp_path / "data" / "runs" / "r1")
    worker.start()
    worker.wait_ready()
    with store.transaction() as connection:
        assert leases.held_leases(connection) == []
    until(lambda: _reasons(store, "D-1"), 30.0)
    until(lambda: _has_exited(store, ended), 30.0)


def _leave_an_ended_run(store: Store, task: TaskRef, run_dir: Path) -> None:
    run_dir.mkdir(parents=True)
    record = {"exit_code": 0, "signal": None, "reason": "exited", "ended_at": "2026-01-01T00:00:00+00:00"}
    (run_dir / "exit.json").write_text(json.dumps({**record, "strays": 0, "detail": ""}))
    run = NewRun("r1", 0, "command", NODE, str(run_dir), "", LinuxHost(NODE, lambda owner: False).myself())
    with store.transaction() as connection:
        job = jobs.live_of_task(connection, task.id)
        assert job is not None
        jobs.begin(connection, job.id, run)


def _has_exited(store: Store, task: TaskRef) -> bool:
    with store.transaction() as connection:
        job = jobs.live_of_task(connection, task.id)
    return job is not None and job.exited_at is not None


def test_a_second_machine_with_the_same_node_name_refuses_to_start(worker: Worker, store: Store) -> None:
    with store.transaction() as connection:
        connection.execute(
            text("INSERT INTO nodes (node, boot_id, pid_ns) VALUES (:n, 'another machine', 1)"), {"n": NODE}
        )
    worker.start()
    until(lambda: _reports_and_the_worker_has_left(worker, store), 60.0)
    assert "give this one a name of its own" in worker.text()


def _reports_and_the_worker_has_left(worker: Worker, store: Store) -> bool:
    """The other machine goes on to report."""
    with store.transaction() as connection:
        connection.execute(text("UPDATE nodes SET last_seen_at = clock_timestamp()"))
    assert worker.process is not None
    return worker.process.poll() not in (None, 0)


def test_a_worker_reports_its_node_although_no_sweep_comes_to_it(worker: Worker, store: Store) -> None:
    """Nothing ticks here: as on a node whose sweeps are all taken by another one."""
    worker.environ["ORCH_NODE_REPORT_INTERVAL_S"] = "0.2"
    worker.start()
    worker.wait_ready()
    before = _last_seen(store)
    until(lambda: _last_seen(store) > before, 30.0)


def _last_seen(store: Store) -> datetime:
    with store.transaction() as connection:
        return next(one.last_seen_at for one in nodes.all_nodes(connection) if one.node == NODE)


def test_importing_the_app_opens_no_connection(environ: dict[str, str]) -> None:
    program = "import tasks, tasks.base; print(len(tasks.base._built))"
    argv = [python("")[0], "-c", program]
    environ = {**environ, "ORCH_DATABASE_URL": "postgresql://nowhere.invalid/x", "ORCH_BROKER_URL": "redis://nowhere"}
    done = subprocess.run(argv, env=environ, text=True, capture_output=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stderr
