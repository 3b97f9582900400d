"""Acts of people: each is recorded with who, changes rows only, and nudges. The engine does the rest."""

from __future__ import annotations

from orchestrator.domain.errors import LostRaceError, NotFoundError, UsageError
from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.domain.stages import Actor
from orchestrator.domain.verdicts import VerdictKind
from orchestrator.domain.views import Outcome, TaskView
from orchestrator.engine.context import Engine
from orchestrator.store import leases, nodes, switches, tasks
from orchestrator.store.tasks import TaskRef


def _task(engine: Engine, work_item: str) -> TaskRef:
    with engine.store.transaction() as connection:
        found = tasks.find(connection, work_item)
    if found is None:
        raise NotFoundError(f"there is no task of a work item {work_item}", remedy="`orch status` lists them all")
    return found


def nudge(engine: Engine, work_item: str) -> None:
    """Have the task looked at now."""
    task = _task(engine, work_item)
    engine.nudges.drive(task.id, task.work_item, Actor.OPERATOR)


def stop(engine: Engine, work_item: str, by: str) -> str:
    """Request STOP; what people are told. A second request, or one that comes too late, changes nothing and says so."""
    task = _task(engine, work_item)
    with engine.store.transaction(f"operator:{by}") as connection:
        outcome = tasks.request_stop(connection, task.id, by)
    if isinstance(outcome, LostRace):
        return f"{work_item}: {outcome.why}"
    engine.nudges.drive(task.id, task.work_item, Actor.OPERATOR)
    return f"{work_item}: STOP is requested"


def retry(engine: Engine, work_item: str, by: str) -> None:
    """Let a parked task try again: its agent anew, unless a verdict that passed still stands.

    Raises UsageError when it is not parked.
    """
    task = _task(engine, work_item)
    view = engine.view(task.id, engine.project(task.project).config)
    with_agent = view is not None and _needs_agent(view)
    with engine.store.transaction(f"operator:{by}") as connection:
        outcome = tasks.retry(connection, task.id, with_agent=with_agent)
    if isinstance(outcome, LostRace):
        raise UsageError(f"{work_item} is not parked", remedy=f"`orch why {work_item}` says what it waits for")
    engine.nudges.drive(task.id, task.work_item, Actor.OPERATOR)


def _needs_agent(view: TaskView) -> bool:
    if view.stage not in view.policy.agent_stages:
        return False
    job = view.job
    passed = job is not None and job.outcome is Outcome.VERDICT and job.verdict is not None
    return not (passed and job is not None and job.verdict is not None and job.verdict.kind is VerdictKind.PASS)


def approve(engine: Engine, work_item: str, by: str) -> None:
    """Let the task go to production. Raises UsageError when it is over or was approved already."""
    task = _task(engine, work_item)
    with engine.store.transaction(f"operator:{by}") as connection:
        outcome = tasks.approve(connection, task.id, by)
    _refuse(outcome, work_item)
    engine.nudges.drive(task.id, task.work_item, Actor.OPERATOR)


def reject(engine: Engine, work_item: str, by: str, why: str) -> None:
    """Send the task back to development (or park it where there is no way back) with ``why`` as evidence."""
    task = _task(engine, work_item)
    if not why.strip():
        raise UsageError("a rejection says why", remedy="the reason is what the next agent is told")
    with engine.store.transaction(f"operator:{by}") as connection:
        outcome = tasks.reject(connection, task.id, by, why)
    _refuse(outcome, work_item)
    engine.nudges.drive(task.id, task.work_item, Actor.OPERATOR)


def _refuse(outcome: Committed | LostRace, work_item: str) -> None:
    if isinstance(outcome, LostRace):
        raise UsageError(f"{work_item}: {outcome.why}")


def release_lease(engine: Engine, work_item: str, by: str, *, epoch: int | None = None) -> None:
    """Take the task's lease away by force; its owner's later writes are refused by the raised epoch.

    Raises NotFoundError for an unknown item, LostRaceError when no (such) lease is held.
    """
    task = _task(engine, work_item)
    with engine.store.transaction(f"operator:{by}") as connection:
        outcome = leases.force_release(connection, task.id, why=f"released by {by}", epoch=epoch)
    if isinstance(outcome, LostRace):
        raise LostRaceError(f"{work_item}: no lease is held")
    engine.nudges.drive(task.id, task.work_item, Actor.OPERATOR)


def pause(engine: Engine, scope: str, by: str, reason: str = "") -> None:
    """Start nothing new, everywhere (``*``) or in one project."""
    _throw(engine, "pause", _known(engine, scope), by, reason)


def resume(engine: Engine, scope: str, by: str) -> bool:
    """Undo a pause; False when there was none. Whatever waited for it is looked at again."""
    return _put_back(engine, "pause", scope, by)


def panic(engine: Engine, by: str, reason: str = "") -> None:
    """No new claim of any effect anywhere, at once. What was claimed is still finished."""
    _throw(engine, "panic", "*", by, reason)


def calm(engine: Engine, by: str) -> bool:
    """End a panic; False when there was none."""
    return _put_back(engine, "panic", "*", by)


def pause_lane(engine: Engine, project: str, by: str, reason: str = "") -> None:
    """Nothing merges into the project's base branch until ``resume_lane``."""
    _throw(engine, "lane", _lane(engine, project), by, reason)


def resume_lane(engine: Engine, project: str, by: str) -> bool:
    """Undo a pause of the lane, and open it after failed deploys; False when it was open."""
    lane = _lane(engine, project)
    with engine.store.transaction(f"operator:{by}") as connection:
        done = switches.resume_lane(connection, lane, by)
    _wake(engine)
    return done


def _lane(engine: Engine, project: str) -> str:
    return f"{project}/{engine.project(_known(engine, project)).config.base_branch}"


def _known(engine: Engine, scope: str) -> str:
    known = engine.project_keys()
    if scope != "*" and scope not in known:
        raise NotFoundError(f"no project {scope} is configured", remedy=f"configured: {', '.join(known) or 'none'}")
    return scope


def _throw(engine: Engine, name: str, scope: str, by: str, reason: str) -> None:
    with engine.store.transaction(f"operator:{by}") as connection:
        switches.throw(connection, name, scope, by, reason)


def _put_back(engine: Engine, name: str, scope: str, by: str) -> bool:
    with engine.store.transaction(f"operator:{by}") as connection:
        done = switches.release(connection, name, scope, by)
    _wake(engine)
    return done


def _wake(engine: Engine) -> None:
    """Whatever waited for a lever is looked at again; that it is undone is a fact, so no earlier answer holds."""
    with engine.store.transaction() as connection:
        waiting = tasks.live(connection)
        for task in waiting:
            tasks.touch_facts(connection, task.id)
    for task in waiting:
        engine.nudges.drive(task.id, task.work_item, Actor.OPERATOR)


def drain(engine: Engine, node: str, by: str, *, draining: bool = True) -> None:
    """Let ``node`` take nothing new (its agents finish), or again. Raises NotFoundError for an unknown node."""
    with engine.store.transaction(f"operator:{by}") as connection:
        outcome = nodes.set_draining(connection, node, draining)
        names = [one.node for one in nodes.all_nodes(connection)]
    if isinstance(outcome, LostRace):
        raise NotFoundError(f"there is no node {node}", remedy=f"known: {', '.join(names) or 'none'}")
    _wake(engine)
