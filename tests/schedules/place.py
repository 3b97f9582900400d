"""One work item on its way to production: a real database and engine, and an outside in memory.

``begin`` empties the database and puts the item where the story begins; every process of it is a line in a table.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import text

from orchestrator.domain import ownership
from orchestrator.domain.configuration import AgentSpec, DeploySpec, ProjectConfig, RepositoryConfig
from orchestrator.domain.deploy_repair import CommandState
from orchestrator.domain.errors import LostRaceError
from orchestrator.domain.lane_merges import merge_message
from orchestrator.domain.ownership import ChildGroup, HeldLease, Liveness, Owner, ProcessState
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import GateOutcome, GateResult
from orchestrator.effects.merge_pr import Decided
from orchestrator.engine.context import Engine
from orchestrator.ports import CommandResult, DeployRequest, MergeCandidate, Observation, ProjectPorts
from orchestrator.settings import Switches, Timings
from orchestrator.store import gate_results, leases, ledger, tasks
from orchestrator.store.database import Store
from orchestrator.store.gate_results import Judged
from orchestrator.store.ledger import EffectKey
from tests.fakes.forge import FakeForge
from tests.fakes.notifier import FakeNotifier
from tests.fakes.repository import Remote
from tests.fakes.tracker import FakeTracker
from tests.fakes.workspaces import FakeWorkspaces
from tests.schedules.network import Network
from tests.schedules.scheduler import Actor, Scheduler, current, reach

PROJECT: Final = "P"
ITEM: Final = "P-1"
BRANCH: Final = "orch/P-1"
FLEET_PID: Final = 9
_TABLES: Final = (
    *("agent_runs", "gate_results", "deployments", "effects", "jobs", "transition_lease", "merge_lease", "events"),
    *("inbox", "images", "coverage_baselines", "counters", "ticks", "switches", "nodes", "tasks"),
)
_FORGET: Final = "SET LOCAL session_replication_role = replica; " + "; ".join(f"DELETE FROM {one}" for one in _TABLES)
_AGE: Final = (
    "UPDATE gate_results SET not_before = not_before - interval '1 hour' WHERE not_before IS NOT NULL",
    "UPDATE tasks SET retry_not_before = retry_not_before - interval '1 hour' WHERE retry_not_before IS NOT NULL",
    """UPDATE deployments SET launched_at = launched_at - interval '1 hour', started_at = started_at - interval '1 hour'
    WHERE status IN ('requested', 'running')""",
)


class Scenario(StrEnum):
    """Which step of the way the actors meet at."""

    MERGE = "merge"
    """``deploy-staging``, all gates to be asked, nothing merged; nothing is deployed anywhere."""
    DEPLOY = "deploy"
    """``deploy-staging``, merged and confirmed: the deploy to production is next."""
    STAGING = "staging"
    """``testing``, with a verdict that passes: the deploy to staging is next, and the way back is open."""
    WHOLE = "whole"
    """``deploy-staging`` with a production environment: the merge, and what follows it."""


class Clock:
    """Time stands still while actors run; the quiet phase lets an hour pass when nothing else is left to do."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        reach("sleep")

    def pass_hour(self) -> None:
        self._now = datetime.now(UTC) + timedelta(hours=1)


@dataclass
class TableHost:
    """``ports.Host`` whose processes are the actors of the scheduler, and one that stands for the rest of the fleet."""

    scheduler: Scheduler
    boot_id: str = "boot"
    node: str = "here"
    pid_ns: int = 1

    @property
    def fleet(self) -> Owner:
        return Owner(self.node, self.boot_id, self.pid_ns, FLEET_PID, 1)

    def myself(self) -> Owner:
        actor = current()
        return self.fleet if actor is None else actor.owner

    def process(self, pid: int) -> ProcessState | None:
        if pid == FLEET_PID:
            return ProcessState("S", 1)
        actor = self._actor(pid)
        return ProcessState("S", 1) if actor is not None and not actor.doomed else None

    def node_is_lost(self, owner: Owner) -> bool:
        return False

    def liveness(self, owner: Owner) -> Liveness:
        return ownership.liveness(owner, self)

    def kill(self, owner: Owner, timeout_s: float) -> bool:
        actor = self._actor(owner.pid)
        if actor is None or actor.doomed:
            return True
        if actor.unkillable or actor is current() or actor.state.value == "done":
            return False
        self.scheduler.kill(actor)
        return True

    def kill_group(self, pgid: int, timeout_s: float, leader_start_ticks: int | None = None) -> bool:
        return True

    def free_bytes(self, path: Path) -> int:
        return 1 << 40

    def _actor(self, pid: int) -> Actor | None:
        return next((one for one in self.scheduler.actors if one.owner.pid == pid), None)


@dataclass
class ThreadNudges:
    """Messages wait with whoever sent them; those of the quiet phase in ``fleet``."""

    fleet: list[tuple[Any, ...]] = field(default_factory=list)

    def _add(self, *message: object) -> None:
        actor = current()
        box = self.fleet if actor is None else actor.nudges
        if message not in box:
            box.append(message)

    def drive(self, task_id: int, work_item: str, actor: str) -> None:
        self._add("drive", task_id, actor)

    def launch_agent(self, node: str, job_id: int, work_item: str) -> None:
        self._add("launch", job_id)

    def stop_agent(self, node: str, job_id: int, work_item: str) -> None:
        self._add("stop", job_id)

    def finish_job(self, node: str, job_id: int, work_item: str) -> None:
        self._add("finish", job_id)

    def finalize_deploys(self) -> None:
        self._add("finalize")


class Clones(FakeWorkspaces):
    """With the reads that gates ask for. No file is ever written: nothing runs in a checkout."""

    @contextmanager
    def checkout(self, sha: str) -> Iterator[Path]:
        self._need(sha)
        yield Path("/nowhere")

    def changed_files(self, base: str, head: str) -> Sequence[str]:
        before, after = self._need(base).files, self._need(head).files
        return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))

    def diff(self, base: str, head: str, paths: Sequence[str] = ()) -> str:
        return ""


class NoAgents:
    """``ports.AgentRuns`` of a node on which every run ended before anybody asked."""

    def owner(self, run_dir: Path) -> None:
        return None

    def exit_record(self, run_dir: Path) -> None:
        return None

    def stop(self, run_dir: Path, grace_s: float) -> Sequence[str]:
        return []


@dataclass
class Configs:
    repository: RepositoryConfig

    def at(self, base_sha: str) -> RepositoryConfig:
        return self.repository


@dataclass
class Commands:
    """``ports.ChildRunner``: the command's group is named in the lease, it runs, it is seen ended."""

    announce: Callable[[ChildGroup | None], bool]
    exit_code: Callable[[], int]

    def run(self, argv: Sequence[str], **options: object) -> CommandResult:
        if not self.announce(ChildGroup(77, 1)):
            raise LostRaceError("the lease was taken away before a command could start")
        reach("a command runs")
        code = self.exit_code()
        self.announce(None)
        return CommandResult(code, "", 0.1)


@dataclass
class Environments:
    """``ports.Deployer``: a launch asks for a deployer process; ``versions`` is what answers where."""

    network: Network
    launched: list[int] = field(default_factory=list)
    started: list[tuple[str, int, str]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    broken: bool = False
    """What is deployed from now on does not come up healthy."""

    def launch(self, request: DeployRequest) -> None:
        self.network.send("launch", lambda: self.launched.append(request.deployment_id))

    def observe(self, spec: DeploySpec) -> Observation:
        return Observation(self.versions.get(spec.health_url), not self.broken, "looked")

    def command_state(self, deployment_id: int) -> CommandState:
        begun = any(one == deployment_id for _, one, _ in self.started)
        return CommandState.ENDED if begun else CommandState.NOT_STARTED

    def end_command(self, deployment_id: int) -> bool:
        return True

    def bring_up(self, environment: str, deployment_id: int, sha: str) -> None:
        self.started.append((environment, deployment_id, sha))
        self.versions[environment] = sha
        self.network.landed.append(("deploy", f"{environment} {sha}"))


@dataclass
class Place:
    """Everything that one schedule plays in."""

    store: Store
    scheduler: Scheduler
    scenario: Scenario
    network: Network
    remote: Remote
    forge: FakeForge
    workspaces: Clones
    tracker: FakeTracker
    environments: Environments
    notifiers: tuple[FakeNotifier, ...]
    host: TableHost
    nudges: ThreadNudges
    clock: Clock
    engine: Engine
    ceiling: Engine
    """The same engine, for which every lease has reached the ceiling."""
    red: list[int] = field(default_factory=list)
    """Exit codes of the next commands; none left: they pass."""
    task_id: int = 0
    pids: Iterator[int] = field(default_factory=lambda: itertools.count(100))

    def rows(self, statement: str, **values: object) -> list[Any]:
        """Each statement by itself is a transaction: half the round trips of one that is begun and committed."""
        with self.store.engine.execution_options(isolation_level="AUTOCOMMIT").begin() as connection:
            return list(connection.execute(text(statement), values))

    def change(self, *statements: str, **values: object) -> None:
        with self.store.engine.execution_options(isolation_level="AUTOCOMMIT").begin() as connection:
            for one in statements:
                connection.execute(text(one), values)

    def age_leases(self) -> None:
        """Whoever is inside is inside for an hour: gates take their time, and age must mean nothing."""
        self.change(
            """UPDATE transition_lease SET acquired_at = clock_timestamp() - interval '1 hour'
            WHERE task_id IN (SELECT task_id FROM transition_lease WHERE released_at IS NULL
              AND acquired_at > clock_timestamp() - interval '1 hour' FOR UPDATE SKIP LOCKED)"""
        )

    def pass_hour(self) -> None:
        """Whatever somebody waited for is over."""
        self.clock.pass_hour()
        self.change(*_AGE)


def forget(store: Store) -> None:
    """Empty the database."""
    with store.transaction() as connection:
        connection.exec_driver_sql(_FORGET)


def begin(store: Store, scheduler: Scheduler, scenario: Scenario, switches: Switches) -> Place:
    """A new world with the task where ``scenario`` begins."""
    forget(store)
    network, remote = Network(), Remote()
    remote.commit("main", files={"app.py": b"1"})
    head = remote.commit(BRANCH, files={"app.py": b"2"})
    host, nudges, clock = TableHost(scheduler), ThreadNudges(), Clock()
    environments, red = Environments(network), list[int]()
    forge, workspaces, tracker = FakeForge(remote, network), Clones(remote, network), FakeTracker(network)
    notifiers = (FakeNotifier("people", network),)
    ports = ProjectPorts(
        config=_config(scenario),
        tracker=tracker,
        forge=forge,
        workspaces=workspaces,
        repository=Configs(_repository(scenario)),
        deployer=environments,
    )
    engine = _engine(store, host, clock, nudges, notifiers, ports, red, Timings(), switches)
    ceiling = _engine(store, host, clock, nudges, notifiers, ports, red, Timings(reaper_max_running_s=-1.0), switches)
    place = Place(
        store=store,
        scheduler=scheduler,
        scenario=scenario,
        network=network,
        remote=remote,
        forge=forge,
        workspaces=workspaces,
        tracker=tracker,
        environments=environments,
        notifiers=notifiers,
        host=host,
        nudges=nudges,
        clock=clock,
        engine=engine,
        ceiling=ceiling,
        red=red,
    )
    _put_task(place, head)
    return place


def _config(scenario: Scenario) -> ProjectConfig:
    working = (Stage.DEVELOPMENT, Stage.REVIEW, Stage.TESTING)
    return ProjectConfig(key=PROJECT, repository="memory:", agents={one: AgentSpec() for one in working})


def _repository(scenario: Scenario) -> RepositoryConfig:
    environments = {
        Scenario.MERGE: (),
        Scenario.DEPLOY: ("production",),
        Scenario.STAGING: ("staging",),
        Scenario.WHOLE: ("production",),
    }[scenario]
    deploys = {one: DeploySpec(command=("deploy",), health_url=one) for one in environments}
    return RepositoryConfig("digest", test=("test",), deploys=deploys)


def _engine(
    store: Store,
    host: TableHost,
    clock: Clock,
    nudges: ThreadNudges,
    notifiers: tuple[FakeNotifier, ...],
    ports: ProjectPorts,
    red: list[int],
    timings: Timings,
    switches: Switches,
) -> Engine:
    def exit_code() -> int:
        return red.pop(0) if red else 0

    nothing = cast("Any", None)
    return Engine(
        store=store,
        host=host,
        clock=clock,
        nudges=nudges,
        notifiers=notifiers,
        project=lambda key: ports,
        project_keys=lambda: (PROJECT,),
        agents=cast("Any", NoAgents()),
        clis={},
        verdicts=nothing,
        prompts=nothing,
        children=lambda announce: cast("Any", Commands(announce, exit_code)),
        switches=switches,
        timings=timings,
        runs_dir=Path("/nowhere"),
    )


def _put_task(place: Place, head: str) -> None:
    """The task's row as if it had come this far, with its pull request open."""
    place.tracker.add(ITEM)
    place.tracker.set_state(ITEM, cast("Any", "in-progress"))
    opened = place.forge.open_pull_request(head_branch=BRANCH, base_branch="main", title="t", body="")
    stage = Stage.TESTING if place.scenario is Scenario.STAGING else Stage.DEPLOY_STAGING
    place.task_id = place.rows(
        """INSERT INTO tasks (work_item, project, title, branch, stage, stage_seq, head_sha, pull_request, created_at)
        VALUES (:w, :p, 'Greet', :b, :s, 5, :h, :n, clock_timestamp()) RETURNING id""",
        w=ITEM,
        p=PROJECT,
        b=BRANCH,
        s=stage,
        h=head,
        n=opened.number,
    )[0].id
    if place.scenario is Scenario.STAGING:
        _put_verdict(place, head)
    if place.scenario is Scenario.DEPLOY:
        _put_merge(place, head)


def _put_verdict(place: Place, head: str) -> None:
    from tests.schedules.fleet import play_agent  # it plays in a place, so it cannot be known to this module earlier

    found = place.rows(
        """INSERT INTO jobs (task_id, stage, visit, round, status) VALUES (:t, 'testing', 5, 0, 'queued')
        RETURNING id""",
        t=place.task_id,
    )
    play_agent(place, found[0].id)


def _put_merge(place: Place, head: str) -> None:
    """Merged and confirmed in this visit, as a predecessor would have left it: re-tested, claimed, sent, confirmed,
    under a lease that it gave back."""
    view = place.engine.view(place.task_id, _config(place.scenario))
    assert view is not None
    base = place.workspaces.base_tip()
    built = place.workspaces.build_merge(head, base, merge_message(view))
    assert isinstance(built, MergeCandidate)
    number = view.pull_request or 0
    decided = Decided(
        str(number), head, built.head_sha, built.commit_sha, built.tree_sha, built.base_sha, BRANCH, "main"
    )
    key = EffectKey(5, EffectKind.MERGE_PR, f"#{number}@{built.commit_sha[:12]}")
    passed = GateResult(GateOutcome.PASS, "tested", head_sha=head, base_sha=base, tree_sha=built.tree_sha)
    with place.store.transaction("monitor") as connection:
        entry = leases.Entry("deploy-staging -> deploy", "monitor", place.host.myself())
        held = leases.acquire(connection, place.task_id, entry, place.host)
        assert isinstance(held, HeldLease)
        gate_results.record_if_epoch_holds(connection, held, "check_branch_mergeable", passed, Judged(5, 0, 0.0))
        claim = ledger.claim_if_epoch_holds(connection, held, key, asdict(decided))
        assert isinstance(claim, ledger.Claim)
        ledger.mark_sent_if_epoch_holds(connection, held, claim)
    place.workspaces.publish(BRANCH, built.commit_sha, head)
    place.forge.merge_pull_request(number, expected_head=built.commit_sha, message="")
    with place.store.transaction("monitor") as connection:
        ledger.confirm_if_epoch_holds(connection, held, claim, {"merge_sha": built.commit_sha})
        tasks.record_merge(connection, place.task_id, built.commit_sha, by_hand=False)
        leases.release(connection, held)
