"""Deliveries of webhooks, from the inbox to what they hint at. Kept, processed at least once, consequences once.

A delivery is a hint: the adapter of its sender says what it is about, and that is read again. One that cannot be
processed stays in the inbox with its error, is tried again with backoff, and never holds up the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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


@dataclass(slots=True)
class _Looks:
    """What was looked at in one pass: (project, work item), or (project, everything). ``since``: when the oldest
    delivery of the pass came."""

    since: datetime
    done: set[tuple[str, Hint | str]] = field(default_factory=set)

    def first(self, project: str, what: Hint | str) -> bool:
        """Whether this is the first time; asked before the look, so say ``forget`` when that fails."""
        if (project, what) in self.done:
            return False
        self.done.add((project, what))
        return True

    def forget(self, project: str, what: Hint | str) -> None:
        self.done.discard((project, what))


def process_delivery(engine: Engine, delivery_id: int) -> None:
    """Do what one kept delivery hints at. One that cannot be processed is kept, shown and tried again with backoff."""
    process_deliveries(engine, (delivery_id,))


def process_deliveries(engine: Engine, delivery_ids: Sequence[int]) -> None:
    """The same for several that came together. Those about one thing are one look: all of them were kept before it."""
    with engine.store.transaction() as connection:
        found = [inbox.get(connection, one) for one in delivery_ids]
    _process_together(engine, [one for one in found if one is not None and one.processed_at is None])


def sweep_inbox(engine: Engine) -> int:
    """Process every delivery that is due, oldest first; how many there were."""
    with engine.store.transaction() as connection:
        due = inbox.due(connection, _DELIVERIES)
        inbox.forget(connection)
    _process_together(engine, due)
    return len(due)


def _process_together(engine: Engine, found: Sequence[Delivery]) -> None:
    if found:
        looks = _Looks(min(delivery.received_at for delivery in found))
        for delivery in found:
            _process(engine, delivery, looks)


def _process(engine: Engine, delivery: Delivery, looks: _Looks) -> None:
    try:
        found = _follow(engine, delivery, looks)
    except Exception as error:  # a unit of a sweep: whatever is wrong with it, the next one has its turn
        if not isinstance(error, OrchestratorError):
            _log.exception("delivery %s of %s could not be processed", delivery.id, delivery.source)
        wait_s = error.retry_after_s if isinstance(error, TransientError) else None
        with engine.store.transaction() as connection:
            counters.add(connection, "delivery_failures_total", delivery.source)
            inbox.failed(connection, delivery.id, str(error) or type(error).__name__, wait_s=wait_s)
        return
    with engine.store.transaction() as connection:
        inbox.processed(connection, delivery.id, found.item, note=found.note)


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of a delivery: the work item, where it is about one; or why it asked for nothing."""

    item: str | None
    note: str


def _follow(engine: Engine, delivery: Delivery, looks: _Looks) -> _Found:
    """Look at what it hints at in every project that has its sender."""
    seen: list[str] = []
    hints: list[Hint] = []
    for project in engine.project_keys():
        ports = engine.project(project)
        for actor, adapter in _senders(ports, delivery.source):
            hint = adapter.hint(delivery.event, delivery.body) if isinstance(adapter, ReadsDeliveries) else _EVERYTHING
            if hint is not None:
                hints.append(hint)
                seen += _look(engine, ports, hint, actor, delivery, looks)
    notes = dict.fromkeys(hint.note for hint in hints if hint.asks_for_nothing)
    return _Found(seen[0] if len(set(seen)) == 1 else None, "" if seen else ", ".join(filter(None, notes)))


def _senders(ports: ProjectPorts, source: str) -> Iterator[tuple[Actor, Tracker | Forge]]:
    """Who reads it, and as which actor a task is entered for it: the tracker's webhook or the forge's."""
    if ports.config.tracker == source:
        yield Actor.PLANE, ports.tracker
    if ports.config.forge == source:
        yield Actor.GITEA, ports.forge


def _look(
    engine: Engine, ports: ProjectPorts, hint: Hint, actor: Actor, delivery: Delivery, looks: _Looks
) -> Sequence[str]:
    """Keys of the work items that the hint led to."""
    project = ports.config.key
    if hint.note:
        _log.info("delivery %s of %s: %s", delivery.id, delivery.source, hint.note)
    if hint.everything:
        _once(looks, project, _EVERYTHING, lambda: _look_at_all(engine, ports, actor, looks.since))
    for key in hint.items:
        _once(looks, project, key, lambda key=key: intake.look_at_item(engine, project, key))  # type: ignore[misc]  # mypy cannot infer a lambda's default
    named = _tasks(engine, project, hint)
    for task in named:
        _touch(engine, task, actor, delivery)
    return [*hint.items, *(task.work_item for task in named)]


def _once(looks: _Looks, project: str, what: Hint | str, look: Callable[[], object]) -> None:
    if not looks.first(project, what):
        return
    try:
        look()
    except BaseException:
        looks.forget(project, what)
        raise


def _look_at_all(engine: Engine, ports: ProjectPorts, actor: Actor, since: datetime) -> None:
    """Nobody can say what changed: all that the tracker saw change, and all live tasks."""
    project = ports.config.key
    for item in intake.changed_since(ports.tracker, since - _LOOK_BACK):
        intake.look_at(engine, project, item)
    with engine.store.transaction() as connection:
        live = [one for one in tasks.live(connection) if one.project == project]
    for task in live:
        with engine.store.transaction() as connection:
            tasks.touch_facts(connection, task.id)
        engine.nudges.drive(task.id, task.work_item, actor)


def _tasks(engine: Engine, project: str, hint: Hint) -> Sequence[TaskRef]:
    """Live tasks that may rest on what the hint is about at a forge."""
    if not (hint.branches or hint.pull_requests or hint.heads):
        return []
    with engine.store.transaction() as connection:
        return tasks.live_with(
            connection, project, branches=hint.branches, pull_requests=hint.pull_requests, heads=hint.heads
        )


def _touch(engine: Engine, task: TaskRef, actor: Actor, delivery: Delivery) -> None:
    with engine.store.transaction() as connection:
        tasks.touch_facts(connection, task.id)
        events.record(connection, task.id, "delivery.seen", {"source": delivery.source})
    engine.nudges.drive(task.id, task.work_item, actor)
