"""The reconciler: nudges what is due and was not nudged, and reads again what webhooks may have lost.

It records facts and nudges; it moves nothing itself, and leaves alone every task whose owner lives.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from orchestrator.domain.decide import Wait, decide
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.ownership import is_alive
from orchestrator.domain.stages import Actor
from orchestrator.engine import deliveries, effects, intake
from orchestrator.engine.context import Engine
from orchestrator.engine.facts import adopt_merge_by_hand
from orchestrator.store import counters, leases, tasks, ticks
from orchestrator.store.tasks import TaskRef

_log = logging.getLogger(__name__)
_BATCH: Final = 500
_OVERLAP: Final = timedelta(seconds=30)
"""A poll begins a little before the last good one: two clocks and a slow commit must not hide a change."""


@dataclass(slots=True)
class ReconcileSummary:
    """What one sweep found: how many of each, and the units that failed with their errors."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        words = [f"{name} {count}" for name, count in sorted(self.counts.items())]
        return ", ".join([*words, *(f"failed: {one}" for one in self.failures)]) or "nothing to do"


def reconcile(engine: Engine) -> ReconcileSummary:
    """One bounded sweep. A unit that fails is recorded and leaves the others alone."""
    summary = ReconcileSummary()
    _alone(summary, "inbox", lambda: _inbox(engine))
    for project in engine.project_keys():
        _alone(summary, f"poll of {project}", lambda project=project: _poll(engine, project))  # type: ignore[misc]  # mypy cannot infer a lambda's default
    with engine.store.transaction() as connection:
        due = tasks.due(connection, _BATCH)
    for task in due:
        _alone(summary, task.work_item, lambda task=task: _look_at(engine, task))  # type: ignore[misc]  # as above
    return summary


def _alone(summary: ReconcileSummary, unit: str, look: Callable[[], str]) -> None:
    try:
        summary.counts[look()] += 1
    except Exception as error:  # a sweep unit: one bad row must never stop the sweep
        _log.exception("the reconciler could not look at %s", unit)
        summary.failures.append(f"{unit}: {error}")


def _inbox(engine: Engine) -> str:
    return "deliveries" if deliveries.sweep_inbox(engine) else "inbox empty"


def _look_at(engine: Engine, task: TaskRef) -> str:
    ports = engine.project(task.project)
    view = engine.view(task.id, ports.config)
    if view is None:
        return "gone"
    decision = decide(view, engine.clock.now())
    if isinstance(decision, Wait) and not effects.has_claims_to_settle(view):
        with engine.store.transaction() as connection:
            tasks.store_reasons(connection, task.id, decision.reasons, decision.until)
        return "waiting"
    with engine.store.transaction() as connection:
        lease = leases.lease_of(connection, task.id)
        if lease is not None and lease.is_held and lease.owner is not None and is_alive(lease.owner, engine.host):
            counters.add(connection, "lease_deferrals_total", Actor.RECONCILER)
            return "deferred"
    engine.nudges.drive(task.id, task.work_item, Actor.RECONCILER)
    return "nudged"


def _poll(engine: Engine, project: str) -> str:
    """Read the tracker's changes and the forge's pull requests, with backoff; a failing poll shows as failing."""
    name = f"poll:{project}"
    with engine.store.transaction() as connection:
        last = next((one for one in ticks.ages(connection) if one.name == name), None)
    if last is not None and last.age_s < _poll_interval_s(engine, project):
        return "poll not due"
    began = engine.clock.now()
    since = None if last is None or last.last_success_at is None else last.last_success_at - _OVERLAP
    try:
        found = _poll_tracker(engine, project, since) + _poll_forge(engine, project)
    except OrchestratorError as error:
        with engine.store.transaction() as connection:
            ticks.record(connection, name, ok=False, note=str(error))
        raise
    with engine.store.transaction() as connection:
        ticks.record(connection, name, ok=True, note=f"{found} changed, read at {began:%H:%M:%S} UTC")
    return "polled"


def _poll_interval_s(engine: Engine, project: str) -> float:
    """The built-in tracker and forge are tables: looking costs nothing, and no webhook tells of them."""
    config = engine.project(project).config
    return 0.0 if config.tracker == "local" and config.forge == "local" else engine.timings.poll_interval_s


def _poll_tracker(engine: Engine, project: str, since: datetime | None) -> int:
    changed = intake.changed_since(engine.project(project).tracker, since)
    return sum(intake.look_at(engine, project, item) for item in changed)


def _poll_forge(engine: Engine, project: str) -> int:
    ports, adopted = engine.project(project), 0
    with engine.store.transaction() as connection:
        open_ones = [one for one in tasks.live(connection) if one.project == project]
    for task in open_ones:
        view = engine.view(task.id, ports.config)
        if view is not None and adopt_merge_by_hand(engine, ports, view):
            engine.nudges.drive(task.id, task.work_item, Actor.RECONCILER)
            adopted += 1
    return adopted
