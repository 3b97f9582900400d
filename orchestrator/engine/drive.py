"""``drive``: the one door through which a task moves.

Read, decide; if there is anything to do, take the lease, read and decide AGAIN under it, act, commit. Every actor
comes through here and none advances a stage by itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from orchestrator.domain.decide import (
    Advance,
    Cancel,
    Decision,
    Finish,
    Launch,
    MoveCard,
    Park,
    PutBack,
    RollBack,
    Wait,
    decide,
)
from orchestrator.domain.errors import ConfigurationError, LostRaceError, OrchestratorError
from orchestrator.domain.ownership import Busy
from orchestrator.domain.stages import Actor
from orchestrator.domain.views import TaskView
from orchestrator.engine import advance, agents, back, cancel, card_moves, effects
from orchestrator.engine.advance import Step
from orchestrator.engine.context import Engine
from orchestrator.engine.effects import Scene
from orchestrator.engine.region import Region, enter
from orchestrator.engine.stopping import StopDeferred, record_refusal
from orchestrator.ports import ProjectPorts
from orchestrator.store import tasks

_log = logging.getLogger(__name__)
_STEPS: Final = 40
"""Decisions of one drive; each commit or recorded fact is one, so a task never needs nearly as many."""


class DrivenKind(StrEnum):
    """How a drive ended."""

    WAITING = "waiting"
    DEFERRED = "deferred"
    LOST = "lost"
    GONE = "gone"
    TIRED = "tired"


@dataclass(frozen=True, slots=True)
class Driven:
    """What one drive found in the end. ``reasons``: why the task does not move now."""

    kind: DrivenKind
    reasons: tuple[str, ...] = ()


def drive(engine: Engine, task_id: int, actor: Actor) -> Driven:
    """Move the task as far as it goes now. A live owner elsewhere, or a lost race: leave without any effect."""
    with engine.store.transaction() as connection:
        task = tasks.get(connection, task_id)
    if task is None:
        return Driven(DrivenKind.GONE, ("there is no such task",))
    try:
        ports = engine.project(task.project)
    except ConfigurationError as error:
        return _waits(engine, task_id, Wait((str(error),)))
    for _ in range(_STEPS):
        driven = _one_visit(engine, ports, task_id, actor)
        if driven is not None:
            return driven
    engine.nudges.drive(task_id, task.work_item, actor)
    return Driven(DrivenKind.TIRED)


def _one_visit(engine: Engine, ports: ProjectPorts, task_id: int, actor: Actor) -> Driven | None:
    """Decide, enter, act until something is committed; None: look at the task again."""
    view = engine.view(task_id, ports.config)
    if view is None:
        return Driven(DrivenKind.GONE, ("there is no such task",))
    decision = decide(view, engine.clock.now())
    if isinstance(decision, Wait) and not _has_to_settle(view, actor):
        return _waits(engine, task_id, decision)
    if isinstance(decision, Finish):
        engine.nudges.finish_job(decision.node, decision.job_id, view.work_item)
        return _waits(engine, task_id, Wait(("its agent has ended; its verdict is being read",)))
    try:
        with enter(
            engine, ports, view, edge=_edge(decision), actor=actor, closing=isinstance(decision, Cancel)
        ) as region:
            if isinstance(region, Busy):
                return _deferred(engine, view, region)
            return _under_lease(region)
    except StopDeferred as deferred:
        return _deferred(engine, view, Busy(None, 0.0, deferred.message))
    except LostRaceError as error:
        _log.info("%s: a race is lost: %s", view.work_item, error)
        record_refusal(engine, task_id, actor, _edge(decision), error.message)
        return Driven(DrivenKind.LOST, (error.message,))


def _has_to_settle(view: TaskView, actor: Actor) -> bool:
    """A task that waits may have a claim of a dead owner; the reconciler has it looked at, as often as it comes by."""
    return actor is Actor.RECONCILER and effects.has_claims_to_settle(view)


def _edge(decision: Decision) -> str:
    match decision:
        case Advance(edge) | RollBack(edge):
            return edge.name
        case _:
            return type(decision).__name__.lower()


def _deferred(engine: Engine, view: TaskView, busy: Busy) -> Driven:
    reason = busy.why if busy.owner is None else f"{busy.why} ({busy.owner}, for {busy.age_s:.0f} s)"
    if view.stop is not None:
        reason = f"STOP waits: {reason}"
    with engine.store.transaction() as connection:
        tasks.store_reasons(connection, view.task_id, (reason,), None)
    return Driven(DrivenKind.DEFERRED, (reason,))


def _under_lease(region: Region) -> Driven | None:
    _settle_what_was_left(region)
    for _ in range(_STEPS):
        view = region.view()
        decision = decide(view, region.engine.clock.now())
        if isinstance(decision, Wait):
            return _waits(region.engine, view.task_id, decision)
        if isinstance(decision, Finish):
            return None
        if _act(region, view, decision) is Step.COMMITTED:
            return None
    return Driven(DrivenKind.TIRED)


def _settle_what_was_left(region: Region) -> None:
    view = region.view()
    if not view.open_claims():
        return
    try:
        base_sha, repository = region.base()
        effects.settle_open_claims(region, Scene(view=view, repository=repository, base_sha=base_sha))
    except LostRaceError:
        raise
    except OrchestratorError as error:
        _log.warning("%s: open claims cannot be looked at: %s", view.work_item, error)


def _act(region: Region, view: TaskView, decision: Decision) -> Step:
    try:
        return _dispatch(region, view, decision)
    except (LostRaceError, StopDeferred):
        raise
    except OrchestratorError as error:
        return advance.effect_error(region, region.view(), error)


def _dispatch(region: Region, view: TaskView, decision: Decision) -> Step:
    match decision:
        case Launch():
            return agents.dispatch(region, view, decision)
        case Advance():
            return advance.advance(region, view, decision)
        case RollBack():
            return back.roll_back(region, view, decision)
        case Park():
            return back.park(region, view, decision)
        case PutBack(move):
            return card_moves.put_back(region, view, move)
        case MoveCard():
            return card_moves.move_card(region, view)
        case Cancel():
            return cancel.cancel(region, view)
        case Wait() | Finish():
            return Step.COMMITTED
        case _:
            assert_never(decision)


def _waits(engine: Engine, task_id: int, decision: Wait) -> Driven:
    with engine.store.transaction() as connection:
        tasks.store_reasons(connection, task_id, decision.reasons, decision.until)
    return Driven(DrivenKind.WAITING, decision.reasons)
