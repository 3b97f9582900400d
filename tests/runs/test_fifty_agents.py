"""Fifty agents at once on one node: what a shim takes, that the launcher stays free, and that each run is finished once
although a worker is killed every second."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from orchestrator import bootstrap
from orchestrator.demo.project import git
from orchestrator.embedded.reachable import with_stores
from orchestrator.engine import operator
from orchestrator.fleet.identity import identify
from tests.runs.yard import ShimMemory, Yard, kill_nine, yard

pytestmark = [pytest.mark.fleet, pytest.mark.soak, pytest.mark.timeout(1800)]

AGENTS: Final = 50
KILLS: Final = 90
CHILDREN: Final = ("edges.1", "agents.1", "edges.2")
"""Of the pools that drive tasks, and that start and finish agents. Their parent starts another one at once."""
PARENTS: Final = {10: "agents", 40: "edges", 70: "agents"}
"""Which of the kills. A parent needs seconds to be up again, and the supervisor waits longer each time: killed every
second, there would soon be nobody left to kill."""
MEMORY_KIB: Final = 12_000_000 // 1024
PATIENCE_S: Final = 600.0
"""Two cores start, judge and commit for fifty items; on a busy machine that takes minutes."""


def waited(reached: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> float:
    """Seconds until ``reached``."""
    began = time.monotonic()
    while not reached():
        assert time.monotonic() - began < timeout_s, f"not in {timeout_s:g} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


def test_fifty_agents_are_finished_once_while_workers_are_killed_every_second(tmp_path: Path) -> None:
    with yard(tmp_path / "data", runs=AGENTS + 2) as made:
        first = _started_alone(made)
        items = [first[0], *(made.add(f"Item {number}") for number in range(1, AGENTS))]
        all_up = waited(lambda: len(made.shims()) == AGENTS, "fifty agents are at work")
        memory = [ShimMemory.of(pid) for pid, _ in made.shims().values()]
        waited(lambda: _busy_launchers(made) == [], "every launch has returned, though its agent goes on", 120)
        one_more, more_s = _started_alone(made)
        items.append(one_more)
        operator.pause(made.engine, "*", "ann", "no next stage begins here")
        running = {one.run_id for one in made.starts()}
        assert set(made.shims()) == running
        killed, orphaned = _release_under_fire(made, items)
        settled = waited(lambda: _settled(made) == len(items), "every run is settled and its step committed")
        _finished_once(made, items, running)
        print(
            f"\n{AGENTS} agents up after {all_up:.1f} s; the first after {first[1]:.1f} s, one more beside fifty after"
            f" {more_s:.1f} s\nshim KiB: rss {_figures([one.rss for one in memory])}, pss"
            f" {_figures([one.pss for one in memory])}, private {_figures([one.private for one in memory])}"
            f"\nkilled {dict(killed)}, with no worker left to kill {orphaned} times; settled {settled:.1f} s later"
        )
        assert max(one.rss for one in memory) < MEMORY_KIB


def _started_alone(made: Yard) -> tuple[str, float]:
    """One more item, and the seconds until its agent runs."""
    item = made.add("One more")
    return item, waited(lambda: item in {one.item for one in made.starts()}, "its agent runs", 120)


def _busy_launchers(made: Yard) -> list[object]:
    """What the workers that start agents do now: agents must hold none of their slots."""
    name = f"agents@{made.settings.node}"
    with bootstrap.build_nudges(with_stores(made.settings)).app as app:
        found = app.control.inspect(destination=[name], timeout=20.0).active() or {}
    return list(found[name])


def _release_under_fire(made: Yard, items: list[str]) -> tuple[Counter[str], int]:
    """Tell one agent a second to finish, and kill a worker a second."""
    killed: Counter[str] = Counter()
    nobody, waiting, deadline = 0, list(items), time.monotonic() + PATIENCE_S
    while (number := sum(killed.values())) < KILLS:
        began = time.monotonic()
        assert began < deadline, f"in {PATIENCE_S:g} s there were only {number} workers to kill"
        if waiting:
            made.go(waiting.pop(0))
        parent = PARENTS.get(number)
        kind = kill_nine(made.fleet, CHILDREN if parent is None else (parent,), number)
        nobody += kind is None
        killed.update(filter(None, [kind]))
        time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))  # the pace of the faults, not a wait for anything
    made.go()
    return killed, nobody


def _settled(made: Yard) -> int:
    """Items whose first step is committed."""
    return int(made.rows("SELECT count(*) FROM tasks WHERE stage = 'architecture'")[0][0])


def _finished_once(made: Yard, items: list[str], running: set[str]) -> None:
    assert Counter(one.item for one in made.starts()) == Counter(items), "no agent was started twice"
    runs = made.rows(
        """SELECT r.run_id, r.exit_reason, r.exit_code, r.outcome, j.work_item, j.stage, j.round, r.turn, j.detail
        FROM agent_runs r JOIN (SELECT j.*, t.work_item FROM jobs j JOIN tasks t ON t.id = j.task_id) j
        ON j.id = r.job_id"""
    )
    assert [run for run in runs if run[0] not in running] == []
    assert {run[1:4] for run in runs} == {("exited", 0, "verdict")}
    assert len(runs) == len(running)
    jobs = "SELECT status, outcome, counted, count(*) FROM jobs WHERE stage = 'analysis' GROUP BY 1, 2, 3"
    assert made.rows(jobs) == [("finished", "verdict", True, len(items))]
    steps = "SELECT work_item FROM events WHERE kind = 'stage.committed' AND detail->>'to' = 'architecture'"
    assert Counter(row[0] for row in made.rows(steps)) == Counter(items)
    for item in items:
        log = git(made.place.repository, made.place.environment, "log", "--format=%s", f"main..orch/{item}")
        assert log.splitlines() == [f"{item}: analysis"]
    assert made.rows("SELECT count(*) FROM events WHERE kind = 'job.reaped' AND detail->>'tier' IN ('1', '3')") == [
        (0,)
    ]
    waited(lambda: not made.shims(), "every shim is gone", 60)
    assert [pid for pid in (one.pid for one in made.starts()) if identify(pid) is not None] == []


def _figures(sizes: list[int]) -> str:
    return f"{min(sizes)}..{median(sizes):.0f}..{max(sizes)}"
