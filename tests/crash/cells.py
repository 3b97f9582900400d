"""The cells of the matrix, generated from the tables of the code: a new effect, edge or actor is in it by itself.

What has no meaning is not generated; ``why_not`` is the one place that says so, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.domain.stages import (
    EDGES,
    START_EFFECTS,
    START_GATES,
    TERMINAL,
    Actor,
    Edge,
    EdgeKind,
    EffectKind,
    Stage,
)
from tests.outside.checker import METHODS


class Boundary(StrEnum):
    """Where an actor stands when the fault strikes: the ten step boundaries of an effect."""

    BEFORE_ENTRY = "before_entry"
    LEASED = "leased"
    CLAIMED = "claimed"
    LOOKED = "looked"
    SENT = "sent"
    LANDED = "landed"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"
    COMMITTED = "committed"
    RELEASED = "released"


class Fault(StrEnum):
    """What strikes. ``faults`` says how each is done."""

    KILL_CHILD = "kill_child"
    KILL_PARENT = "kill_parent"
    BEAT_DEAD = "beat_dead"
    BROKER_LOST = "broker_lost"
    POSTGRES_STOP = "postgres_stop"
    REBOOT = "reboot"
    SECOND_FLEET = "second_fleet"
    CLOCK_HOUR = "clock_off_an_hour"
    CLOCK_MONTH = "clock_off_30_days"
    IN_FLIGHT = "lands_after_the_fence"
    ANSWER_LOST = "answer_lost"
    NOT_DONE = "not_done"
    WEBHOOKS = "webhooks_doubled"
    DISK_FULL = "disk_full"
    PID_REUSED = "pid_reused"
    STOP = "stop"
    TIER_3 = "stopped_past_ceiling"


class Group(StrEnum):
    """The parts of the matrix."""

    CORE = "core"
    OTHERS = "others"
    ZOMBIES = "zombies"
    STOPS = "stops"
    GATES = "gates"


CORE_EFFECTS: Final = (EffectKind.MERGE_PR, EffectKind.START_DEPLOY_PRODUCTION, EffectKind.REBUILD_IMAGE)
"""Effects that meet every fault at every boundary: what they do cannot be taken back, or is carried to production."""
ZOMBIE_EFFECTS: Final = (EffectKind.MERGE_PR, EffectKind.START_DEPLOY_PRODUCTION)
ZOMBIE_BOUNDARIES: Final = (
    Boundary.LEASED,
    Boundary.CLAIMED,
    Boundary.SENT,
    Boundary.LANDED,
    Boundary.CONFIRMED,
)
"""Where a parked actor still has a guarded write before it. Looked and answered are followed by the same writes as
claimed and landed; before its entry and after its commit it owns nothing that could be taken away."""
OTHER_BOUNDARIES: Final = (Boundary.CLAIMED, Boundary.SENT, Boundary.LANDED, Boundary.CONFIRMED)
OTHER_FAULTS: Final = (
    Fault.KILL_CHILD,
    Fault.REBOOT,
    Fault.IN_FLIGHT,
    Fault.ANSWER_LOST,
    Fault.NOT_DONE,
    Fault.DISK_FULL,
    Fault.STOP,
    Fault.TIER_3,
)
STOP_STEPS: Final = (
    "stop.requested",
    "stop.waited",
    "stop.revoked",
    "stop.cleaned",
    "stage.after_commit",
    f"effect.{EffectKind.TRACKER_STATE}.confirmed",
)
"""The steps of a STOP, the last one between its commit and its acknowledgement."""
STOP_FAULTS: Final = (Fault.KILL_CHILD, Fault.POSTGRES_STOP)
FLEET_FAULTS: Final = frozenset({Fault.POSTGRES_STOP})
"""Faults that need servers of their own: they strike in the part of the matrix that takes longer."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One passage: which effect, at which boundary, meets which fault. Zombies name who succeeds, stops their stage."""

    group: Group
    effect: EffectKind
    boundary: str
    fault: str
    stage: Stage
    actor: Actor = Actor.MONITOR

    @property
    def name(self) -> str:
        middle = self.stage if self.group in (Group.STOPS, Group.GATES) else self.effect
        who = f"{self.actor}-" if self.group is Group.ZOMBIES else ""
        return f"{self.group}-{middle}-{self.boundary}-{who}{self.fault}"

    @property
    def point(self) -> str:
        """The failpoint at which its actor stands; empty where the wire itself is the boundary."""
        if self.group in (Group.STOPS, Group.GATES):
            return self.boundary
        return point_of(self.effect, Boundary(self.boundary))

    @property
    def needs_servers(self) -> bool:
        return self.fault in FLEET_FAULTS


def edge_of(kind: EffectKind) -> Edge | None:
    """The first edge that asks for this effect, forward ones first; None for one that only a park asks for."""
    return next((edge for edge in EDGES if kind in edge.effects), None)


def stage_of(kind: EffectKind) -> Stage:
    """Where a task stands when this effect is due."""
    edge = edge_of(kind)
    if edge is None:
        return Stage.DEPLOY
    return Stage.REVIEW if edge.kind is EdgeKind.CANCEL else edge.source


def point_of(kind: EffectKind, boundary: Boundary) -> str:
    """The failpoint of a boundary; empty where the wire itself is it."""
    match boundary:
        case Boundary.BEFORE_ENTRY:
            return "lease.wanted"
        case Boundary.LEASED:
            return "lease.acquired"
        case Boundary.LANDED:
            return ""
        case Boundary.COMMITTED:
            return "stage.after_commit"
        case Boundary.RELEASED:
            return "lease.released"
        case _:
            return f"effect.{kind}.{boundary}"


def why_not(kind: EffectKind, boundary: Boundary, fault: Fault | None = None) -> str:
    """Why a combination has no meaning; empty when it has one."""
    if boundary is Boundary.LANDED and kind not in METHODS:
        return "its outside is a row of ours: landing and answer are one commit"
    if boundary is Boundary.LANDED and fault is Fault.DISK_FULL:
        return "between the landing and the answer no code of ours runs that could write"
    return ""


def cells() -> Iterator[Cell]:
    """Every cell, in the order of the report."""
    yield from _core()
    yield from _others()
    yield from _zombies()
    yield from _stops()
    yield from _gates()


def _core() -> Iterator[Cell]:
    for kind in CORE_EFFECTS:
        for boundary in Boundary:
            for fault in Fault:
                if not why_not(kind, boundary, fault):
                    yield Cell(Group.CORE, kind, boundary, fault, stage_of(kind))


def _others() -> Iterator[Cell]:
    for kind in EffectKind:
        if kind in CORE_EFFECTS:
            continue
        for boundary in OTHER_BOUNDARIES:
            for fault in OTHER_FAULTS:
                if not why_not(kind, boundary, fault):
                    yield Cell(Group.OTHERS, kind, boundary, fault, stage_of(kind))


def _zombies() -> Iterator[Cell]:
    for kind in ZOMBIE_EFFECTS:
        for boundary in ZOMBIE_BOUNDARIES:
            for parked in Actor:
                for successor in Actor:
                    if not why_not(kind, boundary):
                        yield Cell(Group.ZOMBIES, kind, boundary, f"then-{successor}", stage_of(kind), parked)


def _stops() -> Iterator[Cell]:
    for stage in Stage:
        if stage in TERMINAL:
            continue
        for step in STOP_STEPS:
            for fault in STOP_FAULTS:
                yield Cell(Group.STOPS, EffectKind.CLOSE_PR, step, fault, stage)


def _gates() -> Iterator[Cell]:
    """An owner that dies before a gate, or after one and before its result is a row."""
    for edge in EDGES:
        for gate in edge.gates:
            for moment in ("before", "after"):
                yield Cell(Group.GATES, edge.effects[0], f"gate.{gate}.{moment}", Fault.KILL_CHILD, edge.source)
    for gate in START_GATES:
        for moment in ("before", "after"):
            yield Cell(Group.GATES, START_EFFECTS[0], f"gate.{gate}.{moment}", Fault.KILL_CHILD, Stage.ANALYSIS)
