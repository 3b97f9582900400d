"""The reconciler: nudges what is due and was not nudged, and reads again what webhooks may have lost.

It records facts and nudges; it moves nothing itself, and leaves alone every task whose owner lives.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from orchestrator.domain.decide import Wait, decide
from orchestrator.domain.ownership import is_alive
from orchestrator.domain.stages import Actor
from orchestrator.engine import deliveries, effects, polling
from orchestrator.engine.context import Engine
from orchestrator.store import counters, leases, tasks
from orchestrator.store.tasks import TaskRef

_log = logging.getLogger(__name__)
_BATCH: Final = 500


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
        _alone(summary, f"poll of {project}", lambda project=project: polling.poll(engine, project))  # type: ignore[misc]  # mypy cannot infer a lambda's default
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
