"""One task, a real ledger, and an outside in memory: what an effect's test needs. The engine that runs it is real."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import text

from orchestrator.domain.configuration import DeploySpec, ImageRecipe, ProjectConfig, RepositoryConfig
from orchestrator.domain.ownership import Committed, HeldLease, Owner, ProcessState
from orchestrator.domain.stages import Actor, Edge, EffectKind, Stage, cancel_edge, forward_edge
from orchestrator.domain.views import EffectStatus, EffectView, GateOutcome, GateResult, TaskView
from orchestrator.effects import EFFECTS
from orchestrator.effects.contract import EffectContext, Landed
from orchestrator.effects.merge_pr import merge_message
from orchestrator.engine import effects
from orchestrator.engine.context import Engine
from orchestrator.engine.effects import Scene
from orchestrator.engine.region import Region
from orchestrator.ports import Forge, MergeCandidate, ProjectPorts, Workspaces
from orchestrator.settings import Switches, Timings
from orchestrator.store import gate_results, leases
from orchestrator.store.database import Store
from orchestrator.store.gate_results import Judged
from tests.fakes.children import FakeChildren
from tests.fakes.deployer import FakeDeployer
from tests.fakes.forge import FakeForge
from tests.fakes.notifier import FakeNotifier
from tests.fakes.repository import Remote
from tests.fakes.tracker import FakeTracker
from tests.fakes.wire import Wire
from tests.fakes.workspaces import FakeWorkspaces

_pids = itertools.count(100)
RECIPE = ImageRecipe(files=("Dockerfile", "requirements/**"), command=("build", "--here"), timeout_s=60)
DEPLOYS = {one: DeploySpec(command=("deploy",), health_url=f"http://{one}") for one in ("staging", "production")}


class NobodyLives:
    """A probe that sees every owner dead: each ``enter`` is a successor."""

    node, boot_id, pid_ns = "here", "boot", 1

    def process(self, pid: int) -> ProcessState | None:
        return None

    def node_is_lost(self, owner: Owner) -> bool:
        return True


@dataclass
class NoTime:
    """A clock whose sleeps are only counted; ``on_sleep`` is what happens meanwhile."""

    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass
class World:
    """A task at ``stage`` with a pushed branch of two commits. ``forge`` and ``workspaces`` may be real ones."""

    store: Store
    project: str
    stage: Stage
    remote: Remote
    wire: Wire
    forge: FakeForge
    workspaces: FakeWorkspaces
    tracker: FakeTracker
    deployer: FakeDeployer
    notifiers: tuple[FakeNotifier, ...]
    children: FakeChildren = field(default_factory=FakeChildren)
    repository: RepositoryConfig = field(default_factory=lambda: RepositoryConfig("digest"))
    task_id: int = 0
    real_forge: Forge | None = None
    real_workspaces: Workspaces | None = None
    clock: NoTime = field(default_factory=NoTime)

    @property
    def work_item(self) -> str:
        return f"{self.project}-1"

    @property
    def branch(self) -> str:
        return f"orch/{self.work_item}"

    # --- the task ----------------------------------------------------------------------------------------

    def set_task(self, **values: object) -> None:
        """Write columns of the task's row that no effect writes."""
        names = ", ".join(f"{name} = :{name}" for name in values)
        with self.store.transaction() as connection:
            connection.execute(text(f"UPDATE tasks SET {names} WHERE id = :id"), {"id": self.task_id, **values})

    def view(self) -> TaskView:
        found = self._engine().view(self.task_id, self.config)
        assert found is not None
        return found

    def measured(self, line_rate: float) -> None:
        """The coverage gate passed with this figure in the present round."""
        held, view = self.enter(), self.view()
        result = GateResult(GateOutcome.PASS, "measured", figure=line_rate)
        with self.store.transaction() as connection:
            judged = Judged(view.visit, view.round, 0.1)
            done = gate_results.record_if_epoch_holds(connection, held, "check_coverage", result, judged)
        assert done == Committed()

    def rows(self, table: str) -> list[Mapping[str, object]]:
        """All rows of this project in ``table``, oldest first."""
        with self.store.transaction() as connection:
            found = connection.execute(text(f"SELECT * FROM {table} WHERE project = :p"), {"p": self.project})
            return [dict(one) for one in found.mappings()]

    def ledger(self, kind: EffectKind) -> list[EffectView]:
        return [one for one in self.view().effects if one.kind is kind]

    def status(self, kind: EffectKind) -> EffectStatus:
        """Status of the newest row of that kind."""
        return self.ledger(kind)[-1].status

    # --- the engine --------------------------------------------------------------------------------------

    @property
    def config(self) -> ProjectConfig:
        return ProjectConfig(key=self.project, repository="memory:")

    @property
    def ports(self) -> ProjectPorts:
        return ProjectPorts(
            config=self.config,
            tracker=self.tracker,
            forge=self.real_forge or self.forge,
            workspaces=self.real_workspaces or self.workspaces,
            repository=cast("Any", None),
            deployer=self.deployer,
        )

    def _engine(self) -> Engine:
        nothing = cast("Any", None)
        return Engine(
            store=self.store,
            host=nothing,
            clock=self.clock,
            nudges=nothing,
            notifiers=self.notifiers,
            project=lambda key: self.ports,
            project_keys=lambda: (self.project,),
            agents=nothing,
            clis={},
            verdicts=nothing,
            prompts=nothing,
            children=nothing,
            switches=Switches(),
            timings=Timings(),
            runs_dir=Path("/nowhere"),
        )

    def enter(self) -> HeldLease:
        """Take the task's lease over from whoever has it: a new owner, a new epoch."""
        owner = Owner("here", "boot", 1, next(_pids), 1)
        with self.store.transaction() as connection:
            held = leases.acquire(connection, self.task_id, leases.Entry("", Actor.OPERATOR, owner), NobodyLives())
        assert isinstance(held, HeldLease)
        return held

    def region(self, held: HeldLease | None = None) -> Region:
        return Region(self._engine(), held or self.enter(), self.ports, self.children)

    def scene(self, **values: Any) -> Scene:
        tip = (self.real_workspaces or self.workspaces).base_tip()
        return Scene(view=self.view(), repository=self.repository, base_sha=tip, **values)

    def run(self, kind: EffectKind, **scene: Any) -> Mapping[str, str]:
        """One pass of a new owner over one effect, through the real ledger."""
        region = self.region()
        return effects.run(region, self.scene(**scene), kind)

    def withdraw(self) -> Mapping[EffectKind, Landed]:
        """Revocation of all open claims by a new owner."""
        region = self.region()
        return effects.withdraw_open_claims(region, self.scene())

    def context(self, kind: EffectKind, request: Mapping[str, str] | None = None, **scene: Any) -> EffectContext:
        """What the effect is called with; the request is the one it would claim with unless given."""
        made = effects._context(self.region(), self.scene(**scene))
        return replace(made, request=request if request is not None else EFFECTS[kind].request(made))

    # --- the way to production ---------------------------------------------------------------------------

    @property
    def forward(self) -> Edge:
        edge = forward_edge(self.stage)
        assert edge is not None
        return edge

    @property
    def cancel(self) -> Edge:
        edge = cancel_edge(self.stage)
        assert edge is not None
        return edge

    def candidate(self) -> MergeCandidate:
        """The merge of the judged head and the base as it stands now, built as the lane builds it."""
        view, workspaces = self.view(), self.real_workspaces or self.workspaces
        made = workspaces.build_merge(view.head_sha or "", workspaces.base_tip(), merge_message(view))
        assert isinstance(made, MergeCandidate)
        return made

    def open_request(self) -> int:
        """The pull request of the branch, opened in an earlier visit."""
        forge = self.real_forge or self.forge
        marker = f"<!-- orchestrator:{self.task_id}/0 -->"
        made = forge.open_pull_request(head_branch=self.branch, base_branch="main", title="t", body=marker)
        self.set_task(pull_request=made.number)
        return made.number


def make_world(store: Store, stage: Stage = Stage.DEPLOY_STAGING, seq: int = 5) -> World:
    """A world with a task at ``stage``; its base branch has a Dockerfile, its branch has one commit more."""
    project, wire, remote = f"P{uuid.uuid4().hex[:8]}", Wire(), Remote()
    remote.commit("main", files={"Dockerfile": b"FROM scratch", "requirements/base.txt": b"flask", "app.py": b"1"})
    world = World(
        store=store,
        project=project,
        stage=stage,
        remote=remote,
        wire=wire,
        forge=FakeForge(remote, wire),
        workspaces=FakeWorkspaces(remote, wire),
        tracker=FakeTracker(wire),
        deployer=FakeDeployer(wire),
        notifiers=(FakeNotifier("one", wire), FakeNotifier("two", wire)),
    )
    world.tracker.add(world.work_item)
    head = remote.commit(world.branch, files={"app.py": b"2"})
    world.task_id = add_task(world, stage, seq)
    world.set_task(head_sha=head)
    return world


def add_task(world: World, stage: Stage, seq: int) -> int:
    """A task's row, as if it had come this far."""
    with world.store.transaction() as connection:
        return int(
            connection.execute(
                text(
                    """INSERT INTO tasks (work_item, project, title, branch, stage, stage_seq)
                    VALUES (:w, :p, 'Greet', :b, :s, :n) RETURNING id"""
                ),
                {"w": world.work_item, "p": world.project, "b": world.branch, "s": stage, "n": seq},
            ).scalar_one()
        )
