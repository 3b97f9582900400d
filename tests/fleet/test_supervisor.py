"""The supervisor over dummy services: real processes, real signals."""

from __future__ import annotations

import os
import signal

import pytest

from orchestrator.fleet import State
from orchestrator.fleet.running import backoff_s
from tests.fleet.conftest import DummyFleet, gone, wait_until


def test_services_start_behind_readiness_gates_and_stop_in_the_reverse_order(fleet: DummyFleet) -> None:
    fleet.start("web:serve:ENTRANCES", "edges:serve:WORKERS", "valkey:slow:BROKER", "postgres:slow:DATABASE")
    assert fleet.events() == ["postgres up", "valkey up", "edges up", "web up"]
    assert fleet.stop() == 0
    assert fleet.events()[4:] == ["web down", "edges down", "valkey down", "postgres down"]


def test_workers_start_only_after_the_step_before_them_has_ended_well(fleet: DummyFleet) -> None:
    fleet.start("edges:serve:WORKERS", "migrations:step:MIGRATIONS")
    assert fleet.events() == ["migrations done", "edges up"]
    assert fleet.entry("migrations").state is State.DONE


def test_a_failing_step_stops_what_had_started_and_says_why(fleet: DummyFleet) -> None:
    fleet.start("postgres:serve:DATABASE", "migrations:failing_step:MIGRATIONS", "edges:serve:WORKERS", until="stopped")
    assert fleet.process.wait(10) == 1
    assert fleet.events() == ["postgres up", "postgres down"]
    assert "migrations does not start: the schema is newer than this program" in fleet.reports()
    assert "see " in fleet.reports()


def test_a_service_that_never_comes_up_fails_the_start_after_three_attempts(fleet: DummyFleet) -> None:
    fleet.start("postgres:serve:DATABASE", "web:broken:ENTRANCES", until="stopped")
    assert fleet.process.wait(10) == 1
    assert fleet.entry("web").starts == 3
    assert "web does not start: no such setting" in fleet.reports()


def test_a_killed_service_is_started_again(fleet: DummyFleet) -> None:
    fleet.start("edges:serve:WORKERS")
    first = fleet.entry("edges").pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: fleet.entry("edges").starts == 2, "not started again")
    wait_until(lambda: fleet.entry("edges").state is State.READY, "not ready again")
    assert fleet.entry("edges").pid not in (0, first)
    assert "edges ended by signal 9; starting it again in 0.2 s" in fleet.reports()


def test_a_service_that_keeps_ending_waits_longer_each_time_and_is_never_given_up_silently(fleet: DummyFleet) -> None:
    fleet.start("edges:once_only:WORKERS", "web:serve:ENTRANCES")
    os.kill(fleet.entry("edges").pid, signal.SIGKILL)
    for wait in ("0.2", "0.4", "0.8"):
        fleet.wait_for(f"starting it again in {wait} s")
    assert fleet.process.poll() is None
    assert not gone(fleet.entry("web").pid)


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.2), (2, 0.4), (5, 3.2), (9, 30.0), (5000, 30.0)])
def test_the_wait_doubles_up_to_thirty_seconds(failures: int, seconds: float) -> None:
    assert backoff_s(failures) == pytest.approx(seconds)


def test_no_child_of_a_killed_service_goes_on_beside_its_successor(fleet: DummyFleet) -> None:
    fleet.start("edges:parent:WORKERS")
    child = int(fleet.event("edges child"))
    os.kill(fleet.entry("edges").pid, signal.SIGKILL)
    wait_until(lambda: fleet.entry("edges").starts == 2, "not started again")
    assert gone(child)
    fleet.stop()  # the successor has such a child too


def test_a_busy_worker_is_waited_for_then_hurried_and_a_deaf_one_is_killed(fleet: DummyFleet) -> None:
    fleet.start("edges:busy:WORKERS", "agents:deaf:WORKERS")
    pid = fleet.entry("agents").pid
    assert fleet.stop() == 0
    assert fleet.events()[2:] == ["edges asked", "edges hurried"]
    assert "agents does not stop: killed" in fleet.reports()
    assert gone(pid)


def test_a_second_request_hurries_the_workers_at_once(fleet: DummyFleet) -> None:
    (fleet.data_dir / "patient").touch()
    fleet.start("edges:busy:WORKERS", "postgres:serve:DATABASE")
    fleet.process.send_signal(signal.SIGINT)
    fleet.event("edges asked")
    assert "edges hurried" not in fleet.events()
    fleet.process.send_signal(signal.SIGINT)
    assert fleet.process.wait(10) == 0
    assert fleet.events()[-2:] == ["edges hurried", "postgres down"]


def test_ctrl_c_in_the_terminal_reaches_only_the_supervisor_so_the_order_is_kept(fleet: DummyFleet) -> None:
    fleet.start("postgres:serve:DATABASE", "edges:serve:WORKERS")
    os.killpg(fleet.process.pid, signal.SIGINT)
    assert fleet.process.wait(10) == 0
    assert fleet.events()[2:] == ["edges down", "postgres down"]


def test_a_third_request_kills_what_is_left(fleet: DummyFleet) -> None:
    (fleet.data_dir / "patient").touch()
    fleet.start("edges:deaf:WORKERS")
    for text in ("stopping;", "stopping without waiting", "killed"):
        fleet.process.send_signal(signal.SIGTERM)
        fleet.wait_for(text)
    assert fleet.process.wait(10) == 0


def test_a_request_to_stop_while_it_starts_stops_what_had_started(fleet: DummyFleet) -> None:
    fleet.start("postgres:serve:DATABASE", "valkey:slow:BROKER", "web:serve:ENTRANCES", until="postgres is ready")
    assert fleet.stop() == 3
    assert "web up" not in fleet.events()
    assert fleet.events()[-1] == "postgres down"


def test_after_kill_nine_of_the_supervisor_only_agents_are_left(fleet: DummyFleet) -> None:
    fleet.start("postgres:serve:DATABASE", "edges:deaf:WORKERS", "agents:launcher:WORKERS", "web:serve:ENTRANCES")
    pids = [fleet.entry(name).pid for name in ("postgres", "edges", "agents", "web")]
    agent = int(fleet.event("agents agent"))
    try:
        fleet.process.kill()
        wait_until(lambda: all(map(gone, pids)), "a service outlived its supervisor")
        assert not gone(agent)
    finally:
        os.kill(agent, signal.SIGKILL)


def test_agents_survive_an_orderly_stop(fleet: DummyFleet) -> None:
    fleet.start("agents:launcher:WORKERS")
    agent = int(fleet.event("agents agent"))
    try:
        assert fleet.stop() == 0
        assert not gone(agent)
    finally:
        os.kill(agent, signal.SIGKILL)


def test_a_second_supervisor_is_refused_and_the_first_is_not_disturbed(fleet: DummyFleet) -> None:
    fleet.start("web:serve:ENTRANCES")
    first, web = fleet.process, fleet.entry("web").pid
    fleet.start("web:serve:ENTRANCES", until="already runs")
    assert fleet.process.wait(10) == 1
    assert f"a fleet already runs on {fleet.data_dir}: pid {first.pid}" in fleet.reports()
    assert fleet.events() == ["web up"]
    assert not gone(web)


def test_the_lock_is_free_again_after_kill_nine(fleet: DummyFleet) -> None:
    fleet.start("web:serve:ENTRANCES")
    fleet.process.kill()
    fleet.process.wait()
    fleet.log.write_text("")
    fleet.start("web:serve:ENTRANCES")
    assert fleet.stop() == 0


def test_beat_and_sweeps_are_restarted_when_the_periodic_work_stands_still(fleet: DummyFleet) -> None:
    fleet.start("sweeps:deaf:WORKERS", "beat:serve:ENTRANCES", "web:serve:ENTRANCES")
    (fleet.data_dir / "stale").touch()
    wait_until(lambda: fleet.entry("sweeps").starts == 2 and fleet.entry("beat").starts == 2, "not restarted")
    assert fleet.entry("web").starts == 1
    assert "the periodic work stands still" in fleet.reports()
