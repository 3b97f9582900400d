"""Deliveries of webhooks, from the inbox to what they hint at. Kept, processed at least once, consequences once.

A delivery is a hint: the adapter of its sender says what it is about, and that is read again. One that cannot be
processed stays in the inbox with its error, is tried again with backoff, and never holds up the next.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from orchestrator.domain.errors import OrchestratorError, TransientError
from orchestrator.domain.stages import Actor
from orchestrator.engine import intake
from orchestrator.engine.context import Engine
from orchestrator.ports import Forge, Hint, ProjectPorts, ReadsDeliveries, Tracker
from orchestrator.store import counters, events, inbox, tasks
from orchestrator.store.inbox import Delivery
from orchestrator.store.tasks import TaskRef

_log = logging.getLogger(__name__)
_DELIVERIES: Final = 100
_LOOK_BACK: Final = timedelta(minutes=10)
"""How long before its arrival a delivery's change may have been made: two clocks, and a sender that tried again."""
_EVERYTHING: Final = Hint(everything=True)


def process_delivery(engine: Engine, delivery_id: int) -> None:
    """Do what one kept delivery hints at. One that cannot be processed is kept, shown and tried again with backoff."""
    with engine.store.transaction() as connection:
        delivery = inbox.get(connection, delivery_id)
    if delivery is not None and delivery.processed_at is None:
        _process(engine, delivery, set())


def sweep_inbox(engine: Engine) -> int:
    """Process every delivery that is due, oldest first; how many there were. Several about one thing are one look."""
    with engine.store.transaction() as connection:
        due = inbox.due(connection, _DELIVERIES)
        inbox.forget(connection)
    looked_at: set[tuple[str, str]] = set()
    for delivery in due:
        _process(engine, delivery, looked_at)
    return len(due)


def _process(engine: Engine, delivery: Delivery, looked_at: set[tuple[str, str]]) -> None:
    """``looked_at``: (project, item) of what was read since this delivery was received."""
    try:
        seen = _follow(engine, delivery, looked_at)
    except Exception as error:  # a unit of a sweep: whatever is wrong with it, the next one has its turn
        if not isinstance(error, OrchestratorError):
            _log.exception("delivery %s of %s could not be processed", delivery.id, delivery.source)
        wait_s = error.retry_after_s if isinstance(error, TransientError) else None
        with engine.store.transaction() as connection:
            counters.add(connection, "delivery_failures_total", delivery.source)
            inbox.failed(connection, delivery.id, str(error) or type(error).__name__, wait_s=wait_s)
        return
    with engine.store.transaction() as connection:
        inbox.processed(connection, delivery.id, seen)


def _follow(engine: Engine, delivery: Delivery, looked_at: set[tuple[str, str]]) -> str | None:
    """Look at what it hints at in every project that has its sender; the work item, where it is about one."""
    seen: list[str] = []
    for project in engine.project_keys():
        ports = engine.project(project)
        for adapter in _senders(ports, delivery.source):
            hint = adapter.hint(delivery.event, delivery.body) if isinstance(adapter, ReadsDeliveries) else _EVERYTHING
            if hint is not None:
                seen += _look(engine, ports, hint, delivery, looked_at)
    return seen[0] if len(set(seen)) == 1 else None


def _senders(ports: ProjectPorts, source: str) -> Iterator[Tracker | Forge]:
    if ports.config.tracker == source:
        yield ports.tracker
    if ports.config.forge == source:
        yield ports.forge


def _look(
    engine: Engine, ports: ProjectPorts, hint: Hint, delivery: Delivery, looked_at: set[tuple[str, str]]
) -> Sequence[str]:
    """Keys of the work items that were looked at."""
    project = ports.config.key
    if hint.note:
        _log.info("delivery %s of %s: %s", delivery.id, delivery.source, hint.note)
    if hint.everything:
        for item in intake.changed_since(ports.tracker, delivery.received_at - _LOOK_BACK):
            intake.look_at(engine, project, item)
    for key in hint.items:
        if (project, key) not in looked_at:
            intake.look_at_item(engine, project, key)
            looked_at.add((project, key))
    touched = _tasks(engine, project, hint)
    for task in touched:
        _touch(engine, task, delivery)
    return [*hint.items, *(task.work_item for task in touched)]


def _tasks(engine: Engine, project: str, hint: Hint) -> Sequence[TaskRef]:
    """Live tasks that may rest on what the hint is about at a forge."""
    with engine.store.transaction() as connection:
        if hint.everything:
            return [one for one in tasks.live(connection) if one.project == project]
        if not (hint.branches or hint.pull_requests or hint.heads):
            return []
        return tasks.live_with(
            connection, project, branches=hint.branches, pull_requests=hint.pull_requests, heads=hint.heads
        )


def _touch(engine: Engine, task: TaskRef, delivery: Delivery) -> None:
    with engine.store.transaction() as connection:
        tasks.touch_facts(connection, task.id)
        events.record(connection, task.id, "delivery.seen", {"source": delivery.source})
    engine.nudges.drive(task.id, task.work_item, Actor.MONITOR)
