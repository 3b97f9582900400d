"""How long it takes until what was hit goes on: measured from the fault (from SIGCONT, where it was only stopped)."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from orchestrator.domain.ownership import Lease, Probe
from orchestrator.fleet import FleetError
from orchestrator.fleet.identity import ProcessIdentity, children
from orchestrator.store import leases, tasks, ticks
from tests.chaos.arena import Arena
from tests.chaos.victims import Victim

_LIMIT_S: Final = 300.0
"""What does not go on within that is told as a violation; a busy machine needs some of it to start processes."""
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Group(StrEnum):
    """What figures are kept apart."""

    CHILD = "child"
    PARENT = "parent"
    BEAT = "beat"
    BROKER = "broker"
    POSTGRES = "postgres"
    REBOOT = "reboot"
    SUPERVISOR = "supervisor"
    WEB = "web"
    FLOWER = "flower"
    AGENT = "agent"
    SHIM = "shim"
    DEPLOYER = "deployer"
    LEASE_TAKEN = "lease taken"
    GOES_ON = "stopped, goes on"


WANTED_S: Final = {
    Group.CHILD: 2.0,
    Group.PARENT: 2.0,
    Group.BEAT: 15.0,
    Group.BROKER: 15.0,
    Group.POSTGRES: 15.0,
    Group.REBOOT: 30.0,
}
"""99 of 100 are to be faster, on a machine that has nothing else to do."""

_GROUPS: Final = {
    "edges.child": Group.CHILD,
    "agents.child": Group.CHILD,
    "edges": Group.PARENT,
    "intake": Group.PARENT,
    "sweeps": Group.PARENT,
    "agents": Group.PARENT,
    "beat": Group.BEAT,
    "valkey": Group.BROKER,
    "postgres": Group.POSTGRES,
    "supervisor": Group.SUPERVISOR,
    "web": Group.WEB,
    "flower": Group.FLOWER,
    "agent": Group.AGENT,
    "shim": Group.SHIM,
    "deployer": Group.DEPLOYER,
}

Condition = Callable[[Connection], bool]


@dataclass(slots=True)
class Watch:
    """One takeover that is waited for. ``alone``: no other was open meanwhile, and nobody stood stopped who might have
    had to do it, so its time is that of this fault."""

    group: Group
    what: str
    began: float
    since: datetime
    condition: Condition
    alone: bool


@dataclass(frozen=True, slots=True)
class Takeover:
    """How long it took; ``alone``: see ``Watch``."""

    group: Group
    what: str
    seconds: float
    alone: bool


class Observer:
    """``tick`` many times a second. The methods are called before a fault and answer what to call after it."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._open: list[Watch] = []
        self._standing: set[tuple[ProcessIdentity, ...]] = set()
        self.takeovers: list[Takeover] = []
        self.problems: list[str] = []

    def tick(self) -> None:
        """See which takeovers have come. While the database is away none has."""
        if not self._open:
            return
        try:
            with self._arena.store.snapshot() as connection:
                over = [one for one in self._open if self._has_come(one, connection)]
        except DBAPIError:
            over = []
        now = time.monotonic()
        for one in over:
            self.takeovers.append(Takeover(one.group, one.what, now - one.began, one.alone))
        late = [one for one in self._open if one not in over and now - one.began > _LIMIT_S]
        self.problems += [f"I15: {one.group} did not go on within {_LIMIT_S:.0f} s after {one.what}" for one in late]
        self._open = [one for one in self._open if one not in over and one not in late]

    def forgive(self) -> None:
        """A machine that went down takes with it what was waited for."""
        self._open = []

    @property
    def waits(self) -> bool:
        return bool(self._open)

    def close(self) -> None:
        """Nothing is waited for any more; what has not come is a problem."""
        self.problems += [f"I15: {one.group} did not go on after {one.what}" for one in self._open]
        self._open = []

    def work_item(self, task_id: int) -> str:
        with self._arena.store.transaction() as connection:
            found = tasks.get(connection, task_id)
        assert found is not None
        return found.work_item

    # --- before a fault --------------------------------------------------------------------------------------

    def killed(self, victim: Victim) -> Callable[[], None]:
        """What was hit goes on when each transition that it owned has another owner or is over, and it runs again."""
        group = _GROUPS[victim.name]
        again = self._runs_again(victim)
        return lambda: self._watch(group, f"kill {victim.name}", self._goes_on(victim, group, again))

    def lost_broker_data(self) -> Callable[[], None]:
        """While the broker runs on; where it is killed as well, ``killed`` is to be asked."""
        return lambda: self._watch(Group.BROKER, "loss of the broker's data", self._sweeps_ticked())

    def rebooted(self) -> Callable[[], None]:
        def after() -> None:
            self.forgive()
            host, ticked = self._arena.engine.host, self._sweeps_ticked()
            self._watch(Group.REBOOT, "reboot", lambda found: ticked(found) and _no_owner_of_before(found, host))

        return after

    def lost_lease(self, lease: Lease) -> Callable[[], None]:
        return lambda: self._watch(Group.LEASE_TAKEN, f"taking {lease.edge}", _moved([lease], _now()))

    def stopped(self, victim: Victim) -> None:
        """What is stopped takes nothing over from others."""
        self._standing.add(victim.processes)
        for one in self._open:
            one.alone = False

    def stands_no_more(self, victim: Victim) -> None:
        """It goes on, or has been killed meanwhile."""
        self._standing.discard(victim.processes)

    def continued(self, victim: Victim) -> None:
        """A stopped process goes on."""
        self._watch(Group.GOES_ON, f"stop {victim.name}", self._goes_on(victim, _GROUPS[victim.name], lambda _: True))

    # --- conditions ------------------------------------------------------------------------------------------

    def _watch(self, group: Group, what: str, condition: Condition) -> None:
        alone = not self._open and not self._standing
        for one in self._open:
            one.alone = False
        self._open.append(Watch(group, what, time.monotonic(), _now(), condition, alone))

    def _has_come(self, watch: Watch, connection: Connection) -> bool:
        try:
            return watch.condition(connection)
        except FleetError:
            return False

    def _goes_on(self, victim: Victim, group: Group, again: Condition) -> Condition:
        moved, progress = _moved(victim.leases, _now()), self._progress(victim, group)
        return lambda found: again(found) and moved(found) and progress(found)

    def _progress(self, victim: Victim, group: Group) -> Condition:
        match group:
            case Group.AGENT | Group.SHIM:
                return _run_has_ended(str(victim.row))
            case Group.DEPLOYER:
                return _deployment_has_another_end(victim)
            case Group.BEAT | Group.BROKER | Group.POSTGRES | Group.SUPERVISOR:
                return self._sweeps_ticked()
            case Group.WEB:
                return lambda _: self._web_answers()
            case _:
                return lambda _: True

    def _runs_again(self, victim: Victim) -> Condition:
        """A pool's child has a successor, a service was started anew and is ready."""
        if victim.name in ("agent", "shim", "deployer"):
            return lambda _: True
        if victim.name == "supervisor":
            return lambda _: self._arena.fleet.ready()
        service, _, child = victim.name.partition(".")
        if child:
            before = self._children(service)
            return lambda _: len(self._children(service)) >= len(before) and self._children(service) != before
        fleet = self._arena.fleet
        old = fleet.pid(service)
        return lambda _: fleet.is_ready(service) and fleet.pid(service) not in (None, old)

    def _children(self, service: str) -> Sequence[int]:
        parent = self._arena.fleet.pid(service)
        return [] if parent is None else children(parent)

    def _sweeps_ticked(self) -> Condition:
        """A tick that beat sent after the fault has come all the way: beat, broker, worker, database."""
        since = _now()
        return lambda found: (
            any(
                one.name in ("reap", "reconcile", "finalize-deploys")
                and one.last_success_at
                and one.last_success_at > since
                for one in ticks.ages(found)
            )
            and all(self._arena.fleet.is_ready(name) for name in ("beat", "valkey", "postgres", "sweeps"))
        )

    def _web_answers(self) -> bool:
        try:
            with _DIRECT.open(f"http://127.0.0.1:{self._arena.place.ports.web}/livez", timeout=0.5) as answer:
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False


def _now() -> datetime:
    return datetime.now(UTC)


def _moved(held: Sequence[Lease], since: datetime) -> Condition:
    """Each of these leases was taken over, or given back and its task looked at since."""

    def condition(connection: Connection) -> bool:
        for lease in held:
            now = leases.lease_of(connection, lease.task_id)
            if now is None or (now.epoch <= lease.epoch and now.is_held):
                return False
            if now.acquired_at < since and now.is_held:
                return False
        return True

    return condition


def _no_owner_of_before(connection: Connection, host: Probe) -> bool:
    """On the machine that is back. What a second one held that stays away is freed when it is declared lost."""
    owners = [one.owner for one in leases.held_leases(connection) if one.owner is not None]
    return all(one.boot_id == host.boot_id for one in owners if one.node == host.node)


def _run_has_ended(run_id: str) -> Condition:
    """The job of that run has an outcome, or another run."""
    statement = text(
        """SELECT j.status <> 'running' OR j.exited_at IS NOT NULL OR EXISTS (
             SELECT FROM agent_runs n WHERE n.job_id = j.id AND n.id > r.id)
           FROM agent_runs r JOIN jobs j ON j.id = r.job_id WHERE r.run_id = :r"""
    )
    return lambda found: bool(found.execute(statement, {"r": run_id}).scalar())


def _deployment_has_another_end(victim: Victim) -> Condition:
    statement = text("SELECT status <> 'running' OR owner_pid <> :p FROM deployments WHERE id = :d")
    pid = victim.processes[0].pid
    return lambda found: bool(found.execute(statement, {"d": victim.row, "p": pid}).scalar())
