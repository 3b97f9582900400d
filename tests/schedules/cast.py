"""Who plays: every actor of the engine as one process that comes once, does its work and delivers what follows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.ownership import Owner
from orchestrator.domain.stages import Actor as Who
from orchestrator.engine import deliveries, drive, operator, reaper, reconciler
from orchestrator.engine.finalizer import finalize_deploys, finalizer_parts
from orchestrator.ports import PullRequestState, TrackerState
from orchestrator.store import inbox
from tests.schedules import fleet
from tests.schedules.place import BRANCH, ITEM, Place
from tests.schedules.scheduler import Actor


class Part(StrEnum):
    """What an actor comes for."""

    MONITOR = "monitor"
    GITEA = "gitea"
    PLANE = "plane"
    RECONCILER = "reconciler"
    REAPER = "reaper"
    FINALIZER = "finalizer"
    OPERATOR = "operator"
    """Sends the item back to development: a decision to retreat."""
    STOP = "stop"
    TIER3 = "tier3"
    """A reaper for which every lease has reached the ceiling; it kills the owner."""
    CANNOT_KILL = "tier3-cannot-kill"
    """The same, and no owner can be killed: it loses its lease and goes on."""
    RELEASE = "release"
    """A person takes the lease away from whoever has it."""
    CRASH = "crash"
    """SIGKILL of whoever else is there."""
    DEPLOYER = "deployer"
    REOPEN = "reopen"
    """A person opens again a pull request that was closed without a merge."""


def _monitor(place: Place) -> None:
    drive.drive(place.engine, place.task_id, Who.MONITOR)


def _gitea(place: Place) -> None:
    _delivery(place, "gitea")


def _plane(place: Place) -> None:
    _delivery(place, "plane")


def _delivery(place: Place, name: str) -> None:
    """A webhook: kept, then processed; ``local`` is what this project calls its tracker and its forge."""
    with place.store.transaction() as connection:
        kept = inbox.receive(
            connection, source="local", delivery=name, dedupe_key=name, event=f"{name}.changed", body=b"{}"
        )
    deliveries.process_delivery(place.engine, kept.id)


def _reconciler(place: Place) -> None:
    _no_failures(reconciler.reconcile(place.engine).failures)


def _reaper(place: Place) -> None:
    _no_failures(reaper.reap(place.engine).failures)


def _no_failures(failures: list[str]) -> None:
    if failures:
        raise AssertionError(f"a sweep could not look at {failures}")


def _finalizer(place: Place) -> None:
    finalize_deploys(finalizer_parts(place.engine))
    drive.drive(place.engine, place.task_id, Who.FINALIZER)


def _operator(place: Place) -> None:
    operator.reject(place.engine, ITEM, "ann", "not like this")


def _stop(place: Place) -> None:
    place.tracker.set_state(ITEM, TrackerState.STOP)
    operator.stop(place.engine, ITEM, "ann")


def _tier3(place: Place) -> None:
    held = "SELECT task_id, epoch FROM transition_lease WHERE released_at IS NULL"
    before = {tuple(one) for one in place.rows(held)}
    _no_failures(reaper.reap(place.ceiling).failures)
    left = before & {tuple(one) for one in place.rows(held)}
    if left:
        raise AssertionError(f"I15: leases past the ceiling are still held (task, epoch): {left}")


def _cannot_kill(place: Place) -> None:
    for one in place.scheduler.actors:
        one.unkillable = True
    _tier3(place)


def _release(place: Place) -> None:
    operator.release_lease(place.engine, ITEM, "ann")


def _crash(place: Place) -> None:
    for one in place.scheduler.actors:
        if not one.name.startswith(Part.CRASH):
            place.scheduler.kill(one)


def _deployer(place: Place) -> None:
    """For every launch that has landed, also where another deployer came for it: a launch may come twice."""
    for deployment_id in list(place.environments.launched):
        fleet.play_deployer(place, deployment_id)


def _reopen(place: Place) -> None:
    for one in place.forge.find_pull_requests(BRANCH):
        if one.state is PullRequestState.CLOSED:
            place.forge.reopened_by_a_person(one.number)


BODIES: Final[Mapping[Part, Callable[[Place], None]]] = MappingProxyType(
    {
        Part.MONITOR: _monitor,
        Part.GITEA: _gitea,
        Part.PLANE: _plane,
        Part.RECONCILER: _reconciler,
        Part.REAPER: _reaper,
        Part.FINALIZER: _finalizer,
        Part.OPERATOR: _operator,
        Part.STOP: _stop,
        Part.TIER3: _tier3,
        Part.CANNOT_KILL: _cannot_kill,
        Part.RELEASE: _release,
        Part.CRASH: _crash,
        Part.DEPLOYER: _deployer,
        Part.REOPEN: _reopen,
    }
)


def enter(place: Place, part: Part, *, rounds: int = 1) -> Actor:
    """A new process with ``part``; ``rounds``: how often it comes again once its messages are delivered."""
    taken = sum(one.name.partition("#")[0] == part for one in place.scheduler.actors)
    name = f"{part}#{taken + 1}" if taken else str(part)
    pid = next(place.pids)

    def body() -> None:
        for _ in range(rounds):
            # A person who comes too late is told so, and nothing was written.
            with contextlib.suppress(OrchestratorError):
                BODIES[part](place)
            fleet.deliver(place)

    return place.scheduler.spawn(Actor(name, Owner("here", place.host.boot_id, 1, pid, 1), body))
