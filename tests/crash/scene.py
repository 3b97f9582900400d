"""One task brought to where an effect of it is due, by real commits, and what lets it come to rest again."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection as Rows
from sqlalchemy import text

from orchestrator.domain.ownership import Committed, HeldLease
from orchestrator.domain.stages import START_EFFECTS, Actor, Stage, forward_edge, is_terminal
from orchestrator.domain.views import Outcome
from orchestrator.embedded import EmbeddedStores
from orchestrator.engine import deliveries, drive, nodes, reaper, reconciler, stopping
from orchestrator.engine.context import Engine
from orchestrator.engine.finalizer import finalize_deploys, finalizer_parts
from orchestrator.store import deployments, jobs, leases, stage_commits, tasks
from orchestrator.store.database import Store
from orchestrator.store.jobs import NewRun, Settlement
from orchestrator.store.stage_commits import NextJob, StageCommit
from orchestrator.store.tasks import NewTask, TaskRef
from tests.crash import actors
from tests.crash.fleet import FileNudges, Parts, PassingClock, build, nap
from tests.crash.nursery import Nursery, Process
from tests.outside.client import Connection, Proxy, Remote

WITH_PULL_REQUEST: Final = (Stage.REVIEW, Stage.TESTING, Stage.DEPLOY_STAGING, Stage.DEPLOY)
ROUNDS: Final = 12
"""So many rounds of sweeps are far more than any task needs to come to rest; two are promised."""


_UNFINISHED: Final = "SELECT id FROM deployments WHERE task_id = :t AND status IN ('requested', 'running')"
_TOLD: Final = f"SELECT id FROM effects WHERE task_id = :t AND status = 'confirmed' AND kind = '{START_EFFECTS[-1]}'"
_MARKS: Final = """SELECT stage, stage_seq, round, parked_reason, stop_acknowledged_at IS NULL,
    (SELECT array_agg(id || status ORDER BY id) FROM effects WHERE task_id = :t),
    (SELECT array_agg(id || status ORDER BY id) FROM deployments WHERE task_id = :t),
    (SELECT count(*) FROM gate_results WHERE task_id = :t)
  FROM tasks WHERE id = :t"""


class Work(StrEnum):
    """How far the agent of the task's stage has come, where the stage has one."""

    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"


@dataclass
class Scene:
    """One cell's task, its outside and its fleet. ``engine`` is the test process's own, as beat and workers use it;
    ``until`` is the stage that ends the cell, as soon as no deployment of it is on its way."""

    parts: Parts
    engine: Engine
    nursery: Nursery
    setup: Remote
    proxy: Proxy
    postgres: EmbeddedStores | None = None
    task: int = 0
    head: str = ""
    faults: int = 0
    until: Stage = Stage.DONE
    begins: bool = False
    """The cell ends when the task was taken up: it stands where it is to stand from the first moment on."""
    agents: list[int] = field(default_factory=list)

    @property
    def item(self) -> str:
        return f"{self.parts.project}-1"

    @property
    def branch(self) -> str:
        return f"orch/{self.item}"

    @property
    def nudges(self) -> FileNudges:
        assert isinstance(self.engine.nudges, FileNudges)
        return self.engine.nudges

    # --- actors

    def start(self, actor: Actor = Actor.MONITOR, failpoints: str = "", **order: Any) -> Process:
        """An actor that drives the task in a process of its own."""
        parts = order.pop("parts", self.parts)
        return self.nursery.start(
            self.parts.base,
            order.pop("act", "drive"),
            parts=parts.as_plain(),
            actor=str(actor),
            task=self.task,
            item=self.item,
            failpoints=failpoints,
            **order,
        )

    # --- rows

    def rows(self, statement: str, **values: object) -> list[Any]:
        with self.engine.store.transaction() as connection:
            return list(connection.execute(text(statement), {"t": self.task, **values}))

    def change(self, statement: str, **values: object) -> None:
        with self.engine.store.transaction() as connection:
            connection.execute(text(statement), {"t": self.task, **values})

    def stage(self) -> Stage:
        return Stage(self.rows("SELECT stage FROM tasks WHERE id = :t")[0].stage)

    # --- the way to rest

    def settle(self) -> None:
        """Faults are over: sweeps run, messages and deployers come, time passes, until nothing moves any more."""
        self.proxy.calm()
        quiet = 0
        for _ in range(ROUNDS):
            before = self._marks()
            self.sweep()
            self.deliver()
            if self._is_over():
                return
            self.let_time_pass()
            quiet = quiet + 1 if self._marks() == before else 0
            if quiet >= 2:
                return

    def _is_over(self) -> bool:
        row = self.rows("SELECT stage, stop_requested_at, stop_acknowledged_at FROM tasks WHERE id = :t")[0]
        if row.stage == self.until and row.stop_requested_at is None:
            return not self.rows(_UNFINISHED) and (not self.begins or bool(self.rows(_TOLD)))
        return is_terminal(Stage(row.stage)) and not (row.stage == Stage.CANCELLED and row.stop_acknowledged_at is None)

    def _marks(self) -> list[tuple[object, ...]]:
        """What tells whether anything moved: the task, its ledger, its deployments."""
        return [tuple(one) for one in self.rows(_MARKS)]

    def sweep(self) -> None:
        """One pass of all that beat runs."""
        reaped = reaper.reap(self.engine)
        reconciled = reconciler.reconcile(self.engine)
        finalize_deploys(finalizer_parts(self.engine))
        failures = [*reaped.failures, *reconciled.failures]
        assert not failures, failures

    def deliver(self) -> None:
        """Messages, and the deployers that launches ask for, until none is left."""
        for _ in range(40):
            waiting = self.nudges.take()
            launched = Remote(self.proxy.connection, self.parts.project, "deployer").take_launched()
            if not waiting and not launched:
                return
            for name, *arguments in waiting:
                if not self._is_over():
                    self._deliver_one(name, *arguments)
            for deployment in launched:
                self.deploy(deployment)

    def _deliver_one(self, name: str, *arguments: Any) -> None:
        match name:
            case "drive":
                drive.drive(self.engine, arguments[0], Actor(arguments[1]))
            case "stop":
                stopping.stop_agent(self.engine, arguments[0])
            case "delivery":
                deliveries.process_delivery(self.engine, arguments[0])
            case "finalize":
                finalize_deploys(finalizer_parts(self.engine))
            case _:
                pass  # no agent of a cell ever works

    def deploy(self, deployment: int) -> None:
        """The detached deployer of that row comes."""
        found = self.rows("SELECT environment FROM deployments WHERE id = :d", d=deployment)
        if found:
            actors.deploy(self.engine, self.parts, deployment, found[0].environment)

    def let_time_pass(self) -> None:
        """Minutes pass: waits with a time end, and what was launched and never came counts as old."""
        assert isinstance(self.engine.clock, PassingClock)
        self.engine.clock.ahead += timedelta(minutes=10)
        self.change(
            """UPDATE deployments SET launched_at = launched_at - interval '10 minutes',
            started_at = started_at - interval '10 minutes' WHERE task_id = :t AND status IN ('requested', 'running')"""
        )
        self.change("UPDATE inbox SET not_before = clock_timestamp() WHERE processed_at IS NULL")

    def end(self) -> None:
        self.nursery.end_actors()
        for pid in self.agents:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@dataclass
class Stand:
    """What all cells of one test process share."""

    store: Store
    database_url: str
    connection: Connection
    nursery: Nursery
    folder: Path
    log: Path
    outside_folder: Path
    postgres: EmbeddedStores | None = None
    count: int = 0
    _tables: list[str] = field(default_factory=list)

    def scene(
        self, stage: Stage, *, staging: bool = False, covered: bool = False, work: Work = Work.PASSED, **changes: Any
    ) -> Scene:
        """A new task at ``stage``, with all that comes before it done."""
        self.count += 1
        project = f"P{os.getpid()}x{self.count}"
        folder = self.folder / project
        folder.mkdir()
        parts = Parts(
            database_url=self.database_url,
            port=self.connection.port,
            project=project,
            folder=str(folder),
            log=str(self.log),
            outside_folder=str(self.outside_folder),
            stage="" if stage in (Stage.DEPLOY_STAGING, Stage.DEPLOY) else stage,
            staging=staging,
            covered=covered,
            **changes,
        )
        scene = Scene(
            parts=parts,
            engine=build(parts, self.store),
            nursery=self.nursery,
            postgres=self.postgres,
            setup=Remote(self.connection, project, "setup"),
            proxy=Proxy(self.connection, project),
        )
        _bring(scene, stage, work)
        return scene

    def landings(self, scene: Scene) -> list[dict[str, Any]]:
        """The lines of the outside's log that are about this scene's project."""
        lines = self.log.read_bytes().splitlines() if self.log.exists() else []
        mark = f'"{scene.parts.project}"'.encode()
        return [json.loads(line) for line in lines if mark in line]

    def clear(self) -> None:
        """Nothing of an earlier cell is left for a sweep to find."""
        if self.log.exists():
            self.log.write_bytes(b"")
        with self.store.transaction() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            tables = self._tables or _tables(connection)
            self._tables = tables
            connection.exec_driver_sql("; ".join(f'DELETE FROM "{one}"' for one in tables))


def _tables(connection: Rows) -> list[str]:
    kept = ("stage_edges", "alembic_version")
    found = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
    return [one for one in found if one not in kept]


def _bring(scene: Scene, stage: Stage, work: Work) -> None:
    scene.setup.ask_for(scene.item)
    nodes.beat(scene.engine)
    documents = {f"docs/work-items/{scene.item}/{one}.md": b"# It\n\nDone.\n" for one in ("analysis", "architecture")}
    scene.head = scene.setup.push(scene.branch, {"app.py": b"work", **documents})
    new = NewTask(scene.item, scene.parts.project, "Greet", "", "ann", 0, ())
    with scene.engine.store.transaction(Actor.MONITOR) as connection:
        started = tasks.start(connection, new)
        assert isinstance(started, TaskRef), started
        scene.task = started.id
        if scene.parts.stage != Stage.ANALYSIS:
            jobs.cancel_queued(connection, scene.task)
        for at in list(Stage)[: list(Stage).index(Stage.DEPLOY_STAGING if stage is Stage.DEPLOY else stage)]:
            _step(scene, connection, at)
    opened = _open_request(scene) if stage in WITH_PULL_REQUEST else None
    scene.change("UPDATE tasks SET head_sha = :h, pull_request = :n WHERE id = :t", h=scene.head, n=opened)
    scene.setup.worktree(scene.branch)
    if scene.parts.stage and work is Work.RUNNING:
        running_job(scene)
    elif scene.parts.stage and work is Work.PASSED:
        settled_job(scene)


def _open_request(scene: Scene) -> int:
    return int(scene.setup.open_request(scene.branch, f"<!-- orchestrator:{scene.task}/0 -->"))


def _step(scene: Scene, connection: Rows, at: Stage) -> None:
    edge = forward_edge(at)
    assert edge is not None
    engine = scene.engine
    step = StageCommit(at, list(Stage).index(at), edge.target, NextJob() if edge.target == scene.parts.stage else None)
    entry = leases.Entry(edge.name, Actor.MONITOR, engine.owner())
    held = leases.acquire(connection, scene.task, entry, engine.host)
    assert isinstance(held, HeldLease)
    assert isinstance(stage_commits.commit_stage_cas(connection, held, step), Committed)


def _begun(scene: Scene, connection: Rows, run_id: str) -> jobs.Job:
    job = jobs.live_of_task(connection, scene.task)
    assert job is not None
    engine = scene.engine
    run = NewRun(run_id, 0, "command", engine.host.node, str(engine.runs_dir / run_id), "", engine.owner())
    assert isinstance(jobs.begin(connection, job.id, run), Committed)
    return job


def settled_job(scene: Scene) -> None:
    """The stage's job as if its agent had passed it just now."""
    run_id = f"run-of-{scene.task}"
    verdict: dict[str, object] = {
        "schema": "verdict/1",
        "run_id": run_id,
        "verdict": "pass",
        "summary": "done",
        "findings": [],
        "artifacts": [],
        "blocked_on": None,
    }
    with scene.engine.store.transaction() as connection:
        job = _begun(scene, connection, run_id)
        jobs.record_exit(connection, run_id, exit_code=0, signal=None, reason="exited", last_turn=True)
        settled = jobs.settle(connection, job.id, Settlement(Outcome.VERDICT, verdict, scene.head))
        assert isinstance(settled, Committed)


def running_job(scene: Scene) -> None:
    """The stage's agent works: a real process."""
    run_id = f"run-of-{scene.task}"
    with scene.engine.store.transaction() as connection:
        _begun(scene, connection, run_id)
    pid = nap()
    scene.agents.append(pid)
    seen = None
    while seen is None:
        seen = scene.engine.host.process(pid)
    host = scene.engine.host
    owner = {
        "node": host.node,
        "boot_id": host.boot_id,
        "pid_ns": host.pid_ns,
        "pid": pid,
        "start_ticks": seen.start_ticks,
    }
    folder = scene.engine.runs_dir / run_id
    folder.mkdir(parents=True)
    (folder / "owner").write_text(json.dumps(owner))


def in_production(scene: Scene, *, fails: bool = False) -> None:
    """Drive the task through its merge to ``deploy``, and let its deployment end."""
    if fails:
        _earlier_version(scene)
    drive.drive(scene.engine, scene.task, Actor.MONITOR)
    assert scene.stage() is Stage.DEPLOY, scene.rows("SELECT reasons, parked_reason FROM tasks WHERE id = :t")
    row = scene.rows("SELECT id, sha FROM deployments WHERE task_id = :t AND environment = 'production'")[-1]
    if fails:
        (Path(scene.parts.outside_folder) / scene.parts.project / f"broken-{row.sha}").touch()
    Remote(scene.proxy.connection, scene.parts.project, "deployer").take_launched()
    scene.deploy(row.id)
    scene.nudges.take()


def _earlier_version(scene: Scene) -> None:
    """Another work item's version answers in production already."""
    base = Remote(scene.proxy.connection, scene.parts.project, "workspaces").base_tip()
    with scene.engine.store.transaction() as connection:
        other = connection.execute(
            text(
                """INSERT INTO tasks (work_item, project, title, branch, stage, stage_seq)
                VALUES (:w, :p, 'Earlier', 'b', 'done', 7) RETURNING id"""
            ),
            {"w": f"{scene.parts.project}-0", "p": scene.parts.project},
        ).scalar_one()
        row = deployments.request(
            connection,
            task_id=int(other),
            visit=5,
            project=scene.parts.project,
            environment="production",
            sha=base,
        )
    scene.deploy(row.id)
    scene.nudges.take()


def moved(parts: Parts, **changes: Any) -> Parts:
    """The same parts with changes, for an actor elsewhere."""
    return replace(parts, **changes)


def shift_clock(scene: Scene, seconds: float) -> None:
    """The node's wall clock jumps, for every process on it."""
    (scene.parts.base / "clock").write_text(str(seconds))


def wait_a_tick() -> None:
    """Start times of processes are hundredths of a second: two of one pid must not share one."""
    time.sleep(0.03)
