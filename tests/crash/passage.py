"""One cell from its beginning to its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from orchestrator.audit import Breach, Scope, of_rows, processes
from orchestrator.domain.stages import START_EFFECTS, TERMINAL, Actor, EffectKind, Stage
from orchestrator.domain.views import EffectStatus
from orchestrator.engine import drive, operator
from tests.crash.cells import Cell, Fault, Group, edge_of
from tests.crash.faults import FAULTS, Struck, take_over
from tests.crash.nursery import Process
from tests.crash.scene import Scene, Stand, Work, in_production
from tests.outside import checker, trails
from tests.outside.checker import METHODS
from tests.outside.proxy import Trouble
from tests.outside.trails import Trail
from tests.processes import is_running

_EXPECTED_ENDS: Final = frozenset({"OSError", "OperationalError", "InterfaceError"})
"""Errors that a worker's own edge catches and logs; any other is a fault of the code."""


def passage(stand: Stand, cell: Cell) -> list[str]:
    """What the cell breaks: empty when everything holds."""
    stand.clear()
    scene = _prepared(stand, cell)
    try:
        process = _at_boundary(scene, cell)
        _strike(Struck(scene, process, cell))
        scene.faults += 1
        scene.settle()
        return [*_crashes(scene), *judged(stand, scene, cell)]
    finally:
        scene.proxy.forget()
        scene.end()


def _prepared(stand: Stand, cell: Cell) -> Scene:
    if cell.group is Group.STOPS:
        return _with_stop(stand, cell)
    starts = cell.group is Group.GATES and cell.effect is START_EFFECTS[0] and cell.stage is Stage.ANALYSIS
    staging = cell.effect is EffectKind.START_DEPLOY_STAGING
    covered = cell.effect is EffectKind.RATCHET_COVERAGE
    scene = stand.scene(cell.stage, staging=staging, covered=covered, work=Work.QUEUED if starts else Work.PASSED)
    if starts:
        scene.until, scene.begins = (
            Stage.ANALYSIS,
            True,
        )  # no agent of a cell ever works
    if cell.stage is Stage.DEPLOY_STAGING:
        scene.until = Stage.DEPLOY  # the rest of the way has cells of its own
    if cell.stage is Stage.DEPLOY:
        in_production(scene, fails=edge_of(cell.effect) is None)
    edge = edge_of(cell.effect)
    if edge is not None and edge.target is Stage.CANCELLED:
        operator.stop(scene.engine, scene.item, "ann")
    return scene


def _with_stop(stand: Stand, cell: Cell) -> Scene:
    scene = stand.scene(cell.stage, work=Work.RUNNING)
    if cell.stage is Stage.DEPLOY:
        drive.drive(scene.engine, scene.task, Actor.MONITOR)
    operator.stop(scene.engine, scene.item, "ann")
    return scene


def _at_boundary(scene: Scene, cell: Cell) -> Process:
    """An actor that stands where the cell wants it."""
    point = cell.point
    order: dict[str, Any] = {"under_parent": True} if cell.fault == Fault.KILL_PARENT else {}
    if not point:
        scene.proxy.next_meets(Trouble.HOLD_ANSWER, METHODS[cell.effect])
        process = scene.start(cell.actor, **order)
        assert scene.proxy.wait_held(), f"{cell.name}: {METHODS[cell.effect]} never came: {process.report()}"
        return process
    action = "enospc" if cell.fault == Fault.DISK_FULL else "stop"
    process = scene.start(cell.actor, f"{point}={action}", **order)
    if action == "stop":
        assert process.wait_stopped(), f"{cell.name}: {point} was not reached: {process.report()}"
    return process


def _strike(at: Struck) -> None:
    if at.cell.group is Group.ZOMBIES:
        take_over(at, Actor(at.cell.fault.removeprefix("then-")))
    else:
        FAULTS[Fault(at.cell.fault)](at)


def _crashes(scene: Scene) -> list[str]:
    found = []
    for process in scene.nursery.started:
        said = process.report()
        if "error" in said and said["error"] not in _EXPECTED_ENDS:
            found.append(f"an actor ended with {said['trace']}")
    return found


def judged(stand: Stand, scene: Scene, cell: Cell) -> list[str]:
    """Invariants, the world's counts, progress."""
    trail, landings = _trail(scene), stand.landings(scene)
    found: Sequence[Breach] = [
        *checker.breaches(trail, landings, faults=scene.faults),
        *of_rows(scene.engine, Scope(item=scene.item), limit_s=0.0),
        *processes.look(scene.engine, Scope(item=scene.item)).breaches,
    ]
    return [*map(str, found), *_progress(scene, trail), *_counts(trail, landings, cell), *_left_over(scene, trail)]


def _trail(scene: Scene) -> Trail:
    with scene.engine.store.snapshot() as connection:
        return next(one for one in trails.trails(connection) if one.task_id == scene.task)


def _progress(scene: Scene, trail: Trail) -> list[str]:
    """The task is over, or waits and says for what."""
    if trail.stage in TERMINAL or trail.parked or trail.reasons:
        found = []
    else:
        found = [f"it stands at {trail.stage} and gives no reason"]
    waiting = scene.rows("SELECT id, error FROM inbox WHERE processed_at IS NULL")
    return [*found, *(f"I17 delivery {one.id} was never processed: {one.error}" for one in waiting)]


def _counts(trail: Trail, landings: Sequence[checker.Landing], cell: Cell) -> list[str]:
    """The cell's effect came about in the end, once; a STOP and a person who sends the item back may prevent it."""
    confirmed = [row for row in trail.effects if row.kind is cell.effect and row.status is EffectStatus.CONFIRMED]
    found = []
    if not confirmed and cell.group is not Group.STOPS and cell.fault not in (Fault.STOP, Fault.IN_FLIGHT):
        found.append(f"I15 {cell.effect} never came about: the task is at {trail.stage} and waits for {trail.reasons}")
    once = cell.effect in (EffectKind.MERGE_PR, EffectKind.OPEN_PR) and cell.group is not Group.STOPS
    times = len(checker.landed(landings, METHODS[cell.effect])) if once else len(confirmed)
    if times != len(confirmed):
        found.append(f"I14 {cell.effect} landed {times} times and is confirmed {len(confirmed)} times")
    return found


def _left_over(scene: Scene, trail: Trail) -> list[str]:
    """I16: nothing of a task that is over is left outside, and no agent of it lives."""
    over = trail.stage is Stage.DONE or trail.stop_acknowledged_at is not None
    found = []
    if over and scene.setup.has_worktree(scene.branch):
        found.append("I16 its worktree is left")
    if over and scene.setup.has_branch(scene.branch) and not _kept(trail):
        found.append("I16 its branch is left at the forge")
    if over:
        found += [f"I16 its agent {pid} lives" for pid in scene.agents if is_running(pid)]
    return found


def _kept(trail: Trail) -> bool:
    rows = [row for row in trail.effects if row.kind is EffectKind.DELETE_BRANCH]
    return any(row.status is EffectStatus.REFUSED or "kept" in row.result for row in rows)
