"""Tasks, owners that are real processes, and transactions that meet at a chosen moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, Engine, text

from orchestrator.adapters import procfs
from orchestrator.adapters.host import LinuxHost
from orchestrator.domain.ownership import Busy, HeldLease, HeldMergeLane, Owner
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.store import leases, ledger, stage_commits
from orchestrator.store.database import Store
from orchestrator.store.ledger import EffectKey
from orchestrator.store.stage_commits import StageCommit
from tests.processes import until

MERGE = EffectKind.MERGE_PR


@dataclass
class Heart:
    """Short transactions on one database, each of its own; ``myself`` is this process."""

    engine: Engine
    host: LinuxHost = field(default_factory=lambda: LinuxHost("here"))
    items: int = 0

    @property
    def store(self) -> Store:
        return Store(self.engine)

    @property
    def myself(self) -> Owner:
        return self.host.myself()

    def owner_of(self, pid: int) -> Owner:
        seen = procfs.look(pid)
        assert seen is not None
        return replace(self.myself, pid=pid, start_ticks=seen.start_ticks)

    def gone(self) -> Owner:
        """An owner whose pid was given to another process: this one's pid, with older start ticks."""
        return replace(self.myself, start_ticks=self.myself.start_ticks - 1)

    def task(self, stage: Stage = Stage.REVIEW, project: str = "D") -> int:
        self.items += 1
        statement = text(
            """INSERT INTO tasks (work_item, project, title, branch, stage)
            VALUES (:i, :p, 't', 'orch/' || :i, :s) RETURNING id"""
        )
        with self.store.transaction() as connection:
            values = {"i": f"{project}-{self.items}", "p": project, "s": stage}
            return int(connection.execute(statement, values).scalar_one())

    def acquire(
        self, task: int, owner: Owner | None = None, *, closing: bool = False, enforced: bool = True
    ) -> HeldLease | Busy:
        entry = leases.Entry("review -> testing", "monitor", owner or self.myself, closing, enforced)
        with self.store.transaction("monitor") as connection:
            return leases.acquire(connection, task, entry, self.host)

    def held(self, task: int, owner: Owner | None = None, *, enforced: bool = True) -> HeldLease:
        held = self.acquire(task, owner, enforced=enforced)
        assert isinstance(held, HeldLease)
        return held

    def lane(self, held: HeldLease, *, reclaim: bool = True) -> HeldMergeLane | Busy:
        with self.store.transaction() as connection:
            return leases.acquire_merge_lane(connection, held, "D", "main", self.host, reclaim=reclaim)

    def force(self, task: int, epoch: int | None = None) -> object:
        with self.store.transaction("operator") as connection:
            return leases.force_release(connection, task, why="test", epoch=epoch)

    def commit(self, held: HeldLease, source: Stage, seq: int, target: Stage, **more: int) -> object:
        with self.store.transaction(held.actor) as connection:
            step = StageCommit(source, seq, target, serial_limit=more.get("serial_limit"))
            return stage_commits.commit_stage_cas(connection, held, step)

    def claim(
        self, held: HeldLease, *, visit: int = 0, cleanup: bool = False, request: Mapping[str, str] | None = None
    ) -> object:
        with self.store.transaction(held.actor) as connection:
            return self.claim_in(connection, held, visit=visit, cleanup=cleanup, request=request)

    def claim_in(
        self,
        connection: Connection,
        held: HeldLease,
        *,
        visit: int = 0,
        cleanup: bool = False,
        request: Mapping[str, str] | None = None,
    ) -> object:
        key = EffectKey(visit, MERGE, "#1@abc")
        return ledger.claim_if_epoch_holds(connection, held, key, request or {}, cleanup=cleanup)

    def one(self, statement: str, **values: object) -> object:
        """The only value of the only row."""
        with self.store.transaction() as connection:
            return connection.execute(text(statement), values).scalar_one()

    def run(self, statement: str, **values: object) -> None:
        with self.store.transaction() as connection:
            connection.execute(text(statement), values)

    def stage(self, task: int) -> str:
        return str(self.one("SELECT stage FROM tasks WHERE id = :t", t=task))

    def until_somebody_waits(self) -> None:
        """Until a statement of this database waits for a row that another transaction holds."""
        waiting = """SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'"""
        until(lambda: self.one(waiting))

    def behind(self, first: Callable[[Connection], object], second: Callable[[], object]) -> object:
        """What ``second`` gives when it begins while ``first`` is done and not yet committed, and waits for it."""
        found: list[object] = []
        with self.store.transaction("operator") as connection:
            first(connection)
            thread = threading.Thread(target=lambda: found.append(second()))
            thread.start()
            self.until_somebody_waits()
        thread.join(10)
        assert found, "the second transaction failed or did not end"
        return found[0]


def at_once(*acts: Callable[[], object]) -> list[object]:
    """What each act gave, all begun at one moment in threads of their own."""
    barrier, found = threading.Barrier(len(acts)), []

    def run(act: Callable[[], object]) -> None:
        barrier.wait(10)
        found.append(act())

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == len(acts), "an act failed or did not end"
    return found
