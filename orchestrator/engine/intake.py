"""From the tracker to tasks: what a current read of a work item asks for. A delivery is a hint and never believed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from orchestrator.domain.errors import ConfigurationError, NotFoundError, OrchestratorError, UsageError
from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.domain.stages import Actor, Stage, is_terminal
from orchestrator.engine import operator
from orchestrator.engine.context import Engine
from orchestrator.failpoints import hit
from orchestrator.ports import ProjectPorts, Tracker, TrackerState, WorkItem, WritableTracker
from orchestrator.store import events, inbox, tasks
from orchestrator.store.inbox import Delivery
from orchestrator.store.tasks import NewTask, TaskRef

_log = logging.getLogger(__name__)
_DELIVERIES: Final = 100
_PAGE: Final = 200
_LOOK_BACK: Final = timedelta(minutes=10)
"""How long before its arrival a delivery's change may have been made: two clocks, and a sender that tried again."""
_TRACKER: Final = "tracker"


def add_item(
    engine: Engine,
    project: str,
    title: str,
    *,
    body: str = "",
    priority: int = 0,
    author: str,
    key: str | None = None,
    blocked_by: Sequence[str] = (),
) -> str:
    """Add a work item to the built-in tracker and start its passage; its key.

    Raises NotFoundError for an unknown project or blocker, UsageError when the tracker is another system's.
    """
    ports = _ports(engine, project)
    tracker = ports.tracker
    if not isinstance(tracker, WritableTracker):
        raise UsageError(
            f"the items of {project} live in {ports.config.tracker}", remedy="add the work item there; it is found"
        )
    added = tracker.add_item(title, body=body, priority=priority, author=author, key=key, blocked_by=blocked_by)
    look_at(engine, project, tracker.work_item(added))
    return added


def _ports(engine: Engine, project: str) -> ProjectPorts:
    try:
        return engine.project(project)
    except ConfigurationError as error:
        raise NotFoundError(error.message, remedy=error.remedy) from error


def changed_since(tracker: Tracker, moment: datetime | None) -> Iterator[WorkItem]:
    """Every item changed since ``moment``, page after page, some twice: one that is left out now is never asked for
    again. Where a whole page changed at one moment (an import), only a longer page shows what comes after it."""
    limit = _PAGE
    while True:
        page = tracker.changed_since(moment, limit)
        yield from page
        if len(page) < limit:
            return
        limit = 2 * limit if page[-1].updated_at == moment else limit
        moment = page[-1].updated_at


def look_at_item(engine: Engine, project: str, key: str) -> bool:
    """Read one work item now and do what it asks for; True when something changed."""
    return look_at(engine, project, engine.project(project).tracker.work_item(key))


def look_at(engine: Engine, project: str, item: WorkItem) -> bool:
    """Do what a just-read work item asks for: start, relaunch, stop, or new words; True when something changed."""
    with engine.store.transaction() as connection:
        task = tasks.find(connection, item.key)
    live = task if task is not None and not is_terminal(task.stage) else None
    if live is None:
        return _start(engine, project, item) if item.state is TrackerState.TO_ANALYSE else False
    changed = _update(engine, live, item)
    if item.state is TrackerState.STOP and engine.switches.stop_status_enabled:
        changed = _stop(engine, live, item) or changed
    if item.state is TrackerState.TO_ANALYSE and live.stage is Stage.ANALYSIS:
        changed = _relaunch(engine, live) or changed
    if changed:
        engine.nudges.drive(live.id, live.work_item, Actor.MONITOR)
    return changed


def _start(engine: Engine, project: str, item: WorkItem) -> bool:
    ports = engine.project(project)
    # Read again: what was listed a moment ago may be the state from before a task that has ended since.
    item = ports.tracker.work_item(item.key)
    if item.state is not TrackerState.TO_ANALYSE:
        return False
    trusted = ports.config.trusted_authors
    if trusted and item.author not in trusted:
        _log.warning("%s is not started: its author %s is not trusted", item.key, item.author)
        return False
    new = NewTask(item.key, project, item.title, item.body, item.author, item.priority, item.blocked_by)
    with engine.store.transaction(_TRACKER) as connection:
        started = tasks.start(connection, new)
    hit("inbox.committed")
    if isinstance(started, LostRace):
        return False
    engine.nudges.drive(started.id, started.work_item, Actor.MONITOR)
    return True


def _update(engine: Engine, task: TaskRef, item: WorkItem) -> bool:
    with engine.store.transaction(_TRACKER) as connection:
        return tasks.update_item_facts(
            connection,
            task.id,
            title=item.title,
            body=item.body,
            priority=item.priority,
            blocked_by=item.blocked_by,
        )


def _stop(engine: Engine, task: TaskRef, item: WorkItem) -> bool:
    with engine.store.transaction(_TRACKER) as connection:
        return isinstance(tasks.request_stop(connection, task.id, f"tracker: {item.key} was moved to STOP"), Committed)


def _relaunch(engine: Engine, task: TaskRef) -> bool:
    """A relaunch by status is accepted in analysis alone, and only of a parked task; elsewhere it means nothing."""
    try:
        operator.retry(engine, task.work_item, "tracker")
    except UsageError:
        return False
    return True


def process_delivery(engine: Engine, delivery_id: int) -> None:
    """Do what one kept delivery hints at. One that cannot be processed is kept, shown and tried again with backoff."""
    with engine.store.transaction() as connection:
        delivery = inbox.get(connection, delivery_id)
    if delivery is None or delivery.processed_at is not None:
        return
    try:
        seen = _hinted(engine, delivery)
    except OrchestratorError as error:
        with engine.store.transaction() as connection:
            inbox.failed(connection, delivery_id, str(error))
        return
    with engine.store.transaction() as connection:
        inbox.processed(connection, delivery_id, seen)


def _hinted(engine: Engine, delivery: Delivery) -> str | None:
    """Whatever the delivery says, its projects are read again: what it hints at is found by that read."""
    for project in engine.project_keys():
        ports = engine.project(project)
        if delivery.source not in (ports.config.tracker, ports.config.forge):
            continue
        for item in changed_since(ports.tracker, delivery.received_at - _LOOK_BACK):
            look_at(engine, project, item)
        with engine.store.transaction() as connection:
            live = [one for one in tasks.live(connection) if one.project == project]
        for task in live:
            with engine.store.transaction() as connection:
                tasks.touch_facts(connection, task.id)
                events.record(connection, task.id, "delivery.seen", {"source": delivery.source})
            engine.nudges.drive(task.id, task.work_item, Actor.MONITOR)
    return None


def sweep_inbox(engine: Engine) -> int:
    """Process every delivery that is due; how many there were."""
    with engine.store.transaction() as connection:
        due = inbox.due(connection, _DELIVERIES)
    for delivery in due:
        process_delivery(engine, delivery.id)
    return len(due)
