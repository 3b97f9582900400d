"""Polls of trackers and forges: what webhooks lost is found by reading, and a webhook that tells nothing is named.

Polls are polite: one an interval, not all projects at once, a list first and then only what may mean something.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from orchestrator.domain.errors import OrchestratorError, TransientError
from orchestrator.domain.stages import Actor
from orchestrator.engine import intake
from orchestrator.engine.context import Engine
from orchestrator.engine.facts import adopt_merge_by_hand
from orchestrator.ports import WorkItem
from orchestrator.store import inbox, tasks, ticks
from orchestrator.store.tasks import TaskRef

_log = logging.getLogger(__name__)
_OVERLAP: Final = timedelta(seconds=30)
"""A poll begins a little before the last good one: two clocks and a slow commit must not hide a change."""
_CHECKED: Final = 5
"""Live tasks whose items are read in one poll though no list names them: a deleted item is in none."""
_SPREAD: Final = 10
"""Per cent by which the intervals of projects differ, so that they do not all poll in one sweep."""
_TELLING_S: Final = 30.0
"""How long a delivery may take before its silence means something: Plane's takes a fifth of a second."""
_SKEW: Final = timedelta(seconds=10)


def poll(engine: Engine, project: str) -> str:
    """Read the tracker's changes and the forge's pull requests when it is time; a failing poll shows as failing."""
    name = f"poll:{project}"
    with engine.store.transaction() as connection:
        last = next((one for one in ticks.ages(connection) if one.name == name), None)
        began = ticks.now(connection)
    if last is not None and last.age_s < _interval_s(engine, project):
        return "poll not due"
    since = None if last is None or last.last_success_at is None else last.last_success_at - _OVERLAP
    try:
        found = _poll_tracker(engine, project, since) + _check_some(engine, project) + _poll_forge(engine, project)
    except OrchestratorError as error:
        with engine.store.transaction() as connection:
            ticks.record(connection, name, ok=False, note=str(error))
        raise
    with engine.store.transaction() as connection:
        # As of its begin: what changed while it read is for the next one.
        ticks.record(connection, name, ok=True, note=f"{found} changed, read at {began:%H:%M:%S} UTC", as_of=began)
    return "polled"


def _interval_s(engine: Engine, project: str) -> float:
    """The built-in tracker and forge are tables: looking costs nothing, and no webhook tells of them."""
    config = engine.project(project).config
    if config.tracker == "local" and config.forge == "local":
        return 0.0
    return engine.timings.poll_interval_s * (1 + zlib.crc32(project.encode()) % _SPREAD / 100)


def _poll_tracker(engine: Engine, project: str, since: datetime | None) -> int:
    """How many items changed something. One that cannot be read hides no other; the poll fails in the end."""
    errors: list[OrchestratorError] = []
    found: list[WorkItem] = []
    for item in list(intake.changed_since(engine.project(project).tracker, since)):
        try:
            found += [item] if intake.look_at(engine, project, item) else []
        except OrchestratorError as error:
            errors.append(error)
            if isinstance(error, TransientError) and error.retry_after_s is not None:
                break  # nothing more is answered in this window
    if since is not None:
        _listen(engine, project, found)
    if errors:
        raise errors[0]
    return len(found)


def _check_some(engine: Engine, project: str) -> int:
    """Read the items of a few live tasks, others each time: no list names a deleted item, and what blocks an item
    changes without it."""
    config = engine.project(project).config
    if config.tracker == "local":
        return 0
    live = sorted(_live(engine, project), key=lambda task: task.id)
    start = int(engine.clock.now().timestamp() / engine.timings.poll_interval_s) * _CHECKED
    chosen = {live[(start + step) % len(live)] for step in range(_CHECKED)} if live else set()
    return sum(intake.look_at_item(engine, project, task.work_item) for task in chosen)


def _live(engine: Engine, project: str) -> Sequence[TaskRef]:
    with engine.store.transaction() as connection:
        return [one for one in tasks.live(connection) if one.project == project]


def _poll_forge(engine: Engine, project: str) -> int:
    ports, adopted = engine.project(project), 0
    for task in _live(engine, project):
        view = engine.view(task.id, ports.config)
        if view is not None and adopt_merge_by_hand(engine, ports, view):
            engine.nudges.drive(task.id, task.work_item, Actor.RECONCILER)
            adopted += 1
    return adopted


def _listen(engine: Engine, project: str, found: Sequence[WorkItem]) -> None:
    """What a poll had to find, a delivery should have told. None at all since then: say so, until one comes."""
    source = engine.project(project).config.tracker
    if source == "local":
        return
    name = f"webhook:{source}"
    with engine.store.transaction() as connection:
        now = ticks.now(connection)
        late = [item for item in found if (now - item.updated_at).total_seconds() > _TELLING_S]
        untold = (one for one in late if not inbox.heard_since(connection, source, one.updated_at - _SKEW))
        silent = next(untold, None)
        said = next((one for one in ticks.ages(connection) if one.name == name), None)
        if silent is not None:
            ticks.record(connection, name, ok=False, note=_silence(silent, source))
        elif said is not None and said.last_error and inbox.heard_since(connection, source, said.last_at):
            ticks.record(connection, name, ok=True, note="deliveries come again")
    if silent is not None:
        _log.warning("%s", _silence(silent, source))


def _silence(item: WorkItem, source: str) -> str:
    return (
        f"the poll found {item.key} changed at {item.updated_at:%H:%M:%S} UTC, and no delivery of {source} told of it: "
        f"see that its webhook is active and that its address /webhooks/{source} can be reached from there"
    )
