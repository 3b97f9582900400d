"""kill -9 while it works: children of worker pools, and whole pools, aimed at gates, merges and deploys."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.domain.ownership import Lease, Owner
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import EffectStatus
from orchestrator.engine.context import Engine
from orchestrator.fleet import Fleet
from orchestrator.fleet.identity import ProcessIdentity, identify
from orchestrator.store import leases, read_models
from orchestrator.store import tasks as task_rows

# Time to mend before the next blow: what is killed again and again before it ever works shows nothing.
PAUSE_S: Final = 2.5


class Moment(StrEnum):
    """What goes on when the blow falls: a gate runs a command, a merge or deploy is claimed, or any lease is held."""

    GATES = "gates"
    MERGE = "merge"
    DEPLOY = "deploy"
    ANY = "any"


class Victim(StrEnum):
    """Who dies: the process that owns the lease, its whole pool, or the pool of the sweeps or of the agents."""

    CHILD = "child"
    POOL = "pool"
    SWEEPS = "sweeps"
    AGENTS = "agents"


@dataclass(frozen=True, slots=True)
class Aim:
    moment: Moment
    victim: Victim


@dataclass(frozen=True, slots=True)
class Kill:
    """One blow: what was going on, who died (``pids``), and when, in seconds after the start."""

    moment: Moment
    victim: Victim
    work_item: str
    edge: str
    pids: tuple[int, ...]
    at_s: float

    def __str__(self) -> str:
        whom = f"{self.victim} ({', '.join(map(str, self.pids))})"
        return f"{self.at_s:5.1f} s  kill -9 {whom} during {self.moment}: {self.work_item} {self.edge}"


AIMS: Final = (
    Aim(Moment.GATES, Victim.CHILD),
    Aim(Moment.MERGE, Victim.CHILD),
    Aim(Moment.DEPLOY, Victim.CHILD),
    Aim(Moment.GATES, Victim.POOL),
    Aim(Moment.MERGE, Victim.POOL),
    Aim(Moment.ANY, Victim.SWEEPS),
    Aim(Moment.ANY, Victim.AGENTS),
    Aim(Moment.MERGE, Victim.CHILD),
)
_MERGING: Final = (EffectKind.MERGE_PR, EffectKind.REBUILD_IMAGE)
_DEPLOYING: Final = (
    EffectKind.START_DEPLOY_STAGING,
    EffectKind.START_DEPLOY_PRODUCTION,
    EffectKind.ROLL_BACK_DEPLOY,
)


class Chaos:
    """Strikes when it is looked after (``tick``, many times a second). The same seed gives the same order of aims."""

    def __init__(self, engine: Engine, fleet: Fleet, seed: int) -> None:
        self._engine, self._fleet = engine, fleet
        self._random = random.Random(seed)  # noqa: S311  # repeatable on purpose
        self._aims = self._random.sample(AIMS, len(AIMS))
        self._began = time.monotonic()
        self._not_before = self._began + PAUSE_S
        self.kills: list[Kill] = []

    def tick(self) -> Kill | None:
        """Strike if it is time and the moment has come."""
        if not self._aims or time.monotonic() < self._not_before:
            return None
        for lease, moment in self._moments():
            aim = next((one for one in self._aims if one.moment in (moment, Moment.ANY)), None)
            if aim is not None:
                return self._strike(aim, lease, moment)
        return None

    @property
    def unspent(self) -> tuple[Aim, ...]:
        """Aims whose moment has not come."""
        return tuple(self._aims)

    def _moments(self) -> Iterator[tuple[Lease, Moment]]:
        with self._engine.store.snapshot() as connection:
            held = list(leases.held_leases(connection))
            self._random.shuffle(held)
            found = [
                (lease, self._moment(read_models.item_effects(connection, key), lease))
                for lease in held
                if (key := self._key(lease)) is not None
            ]
        yield from found

    def _key(self, lease: Lease) -> str | None:
        with self._engine.store.transaction() as connection:
            task = task_rows.get(connection, lease.task_id)
        return None if task is None else task.work_item

    def _moment(self, rows: list[read_models.EffectRow], lease: Lease) -> Moment:
        claimed = {EffectKind(row.kind) for row in rows if row.status == EffectStatus.CLAIMED}
        if claimed.intersection(_MERGING):
            return Moment.MERGE
        if claimed.intersection(_DEPLOYING):
            return Moment.DEPLOY
        return Moment.GATES if lease.child is not None else Moment.ANY

    def _strike(self, aim: Aim, lease: Lease, moment: Moment) -> Kill | None:
        assert lease.owner is not None
        victims = self._victims(aim.victim, lease.owner)
        dead = tuple(one.pid for one in victims if one.send(signal.SIGKILL))
        if not dead:
            return None  # it had gone on meanwhile: aim again
        self._aims.remove(aim)
        self._not_before = time.monotonic() + PAUSE_S * self._random.uniform(0.6, 1.6)
        kill = Kill(
            moment, aim.victim, self._key(lease) or "", lease.edge, dead, round(time.monotonic() - self._began, 1)
        )
        self.kills.append(kill)
        return kill

    def _victims(self, victim: Victim, owner: Owner) -> list[ProcessIdentity]:
        match victim:
            case Victim.CHILD:
                return [ProcessIdentity(owner.pid, owner.start_ticks)]
            case Victim.POOL:
                return self._pool(self._pool_of(owner.pid))
            case Victim.SWEEPS | Victim.AGENTS:
                return self._pool(str(victim))

    def _pool_of(self, pid: int) -> str:
        """The service of which that process is a part."""
        return next((name.partition(".")[0] for name, one in self._fleet.pids().items() if one == pid), "edges")

    def _pool(self, service: str) -> list[ProcessIdentity]:
        """The parent first: it must not get the time to start children anew."""
        pids = [pid for name, pid in self._fleet.pids().items() if name.partition(".")[0] == service]
        return [one for one in map(identify, pids) if one is not None]
