"""From the tracker to tasks: what a current read of a work item asks for. A delivery is a hint and never believed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from orchestrator.domain.authorisation import not_authorised
from orchestrator.domain.errors import ConfigurationError, NotAllowedError, NotFoundError, UsageError
from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.domain.stages import Actor, Stage, is_terminal
from orchestrator.engine import operator
from orchestrator.engine.context import Engine
from orchestrator.failpoints import hit
from orchestrator.ports import ProjectPorts, Tracker, TrackerState, WorkItem, WritableTracker
from orchestrator.store import card_moves, tasks
from orchestrator.store.tasks import NewTask, TaskRef

_log = logging.getLogger(__name__)
_PAGE: Final = 200
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

    Raises NotFoundError for an unknown project or blocker, NotAllowedError for an author who is not trusted (nothing is
    added then: it would never start), UsageError when the tracker is another system's.
    """
    ports = _ports(engine, project)
    tracker = ports.tracker
    if not isinstance(tracker, WritableTracker):
        raise UsageError(
            f"the items of {project} live in {ports.config.tracker}", remedy="add the work item there; it is found"
        )
    trusted = ports.config.trusted_authors
    if trusted and author not in trusted:
        raise NotAllowedError(
            f"{author} may not start work items of {project}",
            remedy="add the name to trusted_authors in orchestrator.yml, or let a trusted author add it",
        )
    added = tracker.add_item(title, body=body, priority=priority, author=author, key=key, blocked_by=blocked_by)
    look_at_item(engine, project, added)
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
    """Read one work item now and do what it asks for: start, relaunch, stop, or new words; True when something changed.

    One that is gone from the tracker stops its task.
    """
    # The task first: what was read before a task ended may be the state from before it began.
    live = _live(engine, key)
    try:
        item = engine.project(project).tracker.work_item(key)
    except NotFoundError as error:
        return live is not None and _stop(engine, live, f"tracker: {error.message}")
    if live is None:
        return _start(engine, project, item) if item.state is TrackerState.TO_ANALYSE else False
    return _follow(engine, live, item)


def look_at(engine: Engine, project: str, listed: WorkItem) -> bool:
    """The same for an item of a list. A list is a hint too: what may mean something is read again."""
    if listed.state is not TrackerState.TO_ANALYSE and _live(engine, listed.key) is None:
        return False
    return look_at_item(engine, project, listed.key)


def _live(engine: Engine, key: str) -> TaskRef | None:
    with engine.store.transaction() as connection:
        task = tasks.find(connection, key)
    return None if task is None or is_terminal(task.stage) else task


def _follow(engine: Engine, live: TaskRef, item: WorkItem) -> bool:
    changed = _update(engine, live, item)
    if item.state is TrackerState.STOP:
        changed = _stop(engine, live, f"tracker: {item.key} was moved to STOP") or changed
    again = item.state is TrackerState.TO_ANALYSE and live.stage is Stage.ANALYSIS and _relaunch(engine, live)
    changed = _note_move(engine, live, item.state, relaunched=again) or again or changed
    if changed:
        engine.nudges.drive(live.id, live.work_item, Actor.PLANE)
    return changed


def _start(engine: Engine, project: str, item: WorkItem) -> bool:
    why = not_authorised(engine.project(project).config, item)
    if why:
        _log.warning("%s is not started: %s", item.key, why)
        return False
    new = NewTask(item.key, project, item.title, item.body, item.author, item.priority, item.blocked_by)
    with engine.store.transaction(_TRACKER) as connection:
        started = tasks.start(connection, new)
    hit("inbox.committed")
    if isinstance(started, LostRace):
        return False
    engine.nudges.drive(started.id, started.work_item, Actor.PLANE)
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


def _stop(engine: Engine, task: TaskRef, why: str) -> bool:
    if not engine.switches.stop_status_enabled:
        return False
    with engine.store.transaction(_TRACKER) as connection:
        done = isinstance(tasks.request_stop(connection, task.id, why), Committed)
    if done:
        engine.nudges.drive(task.id, task.work_item, Actor.PLANE)
    return done


def _note_move(engine: Engine, task: TaskRef, seen: TrackerState, *, relaunched: bool) -> bool:
    """STOP is a wish in every stage; any other place than where we put the card is answered under the lease."""
    if seen is TrackerState.STOP:
        return False
    with engine.store.transaction(_TRACKER) as connection:
        return card_moves.note_if_moved(connection, task.id, seen, relaunched=relaunched)


def _relaunch(engine: Engine, task: TaskRef) -> bool:
    """A relaunch by status is accepted in analysis alone, and only of a parked task; elsewhere it means nothing."""
    try:
        operator.retry(engine, task.work_item, "tracker")
    except UsageError:
        return False
    return True
