"""Agent runs: dispatched under the lease, started on their node, finished once, ended for STOP.

An agent never holds a worker slot and survives every restart: what is known of it are rows and its run directory.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.configuration import AGENT_FILES, AgentSpec, RepositoryConfig
from orchestrator.domain.decide import Again, Launch
from orchestrator.domain.errors import LostRaceError, OrchestratorError, TransientError, UsageError
from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.domain.stages import START_EFFECTS, START_GATES, Actor, Stage
from orchestrator.domain.views import JobStatus, Outcome, TaskView
from orchestrator.engine import effects, gates, late_verdicts
from orchestrator.engine.advance import Step
from orchestrator.engine.context import Engine
from orchestrator.engine.effects import Scene
from orchestrator.engine.gates import Bench
from orchestrator.engine.region import Region
from orchestrator.engine.resuming import Earlier, earlier_session
from orchestrator.failpoints import hit
from orchestrator.ports import AgentRequest, ProjectPorts, PromptFacts
from orchestrator.store import jobs, nodes, provider_pauses, tasks
from orchestrator.store.jobs import Job, NewRun
from orchestrator.store.tasks import SameStage

_log = logging.getLogger(__name__)
_START_RETRY_S: Final = 10.0


def dispatch(region: Region, view: TaskView, decision: Launch) -> Step:
    """Send the stage's job to a node, or begin a new round of it; the lease is given back with the same commit."""
    if decision.again is not None:
        return _again(region, view, decision.stage, decision.again)
    if view.visit == 0 and view.round == 0 and not _started(region, view):
        return Step.AGAIN
    job = view.job
    assert job is not None, "a launch without a new round has a queued job"
    with region.engine.store.transaction(region.held.actor) as connection:
        # After a quota one run goes first: all at once would meet the same refusal again.
        first = provider_pauses.take_try(connection, view.policy.runtimes.get(view.stage, ""), view.task_id)
        if isinstance(first, LostRace):
            raise LostRaceError(first.why)
        node = nodes.choose(connection, view.task_id, here=region.engine.host.node)
        if node is None:
            raise LostRaceError("every node takes nothing new by now")
        outcome = jobs.dispatch(connection, job.id, node)
    if isinstance(outcome, LostRace):
        raise LostRaceError(outcome.why)
    region.engine.nudges.launch_agent(node, job.id, view.work_item)
    return Step.COMMITTED


def _again(region: Region, view: TaskView, stage: Stage, again: Again) -> Step:
    at = SameStage(stage, view.stage_seq)
    with region.engine.store.transaction(region.held.actor) as connection:
        outcome = tasks.start_round_if_epoch_holds(connection, region.held, at, again.evidence, again.delay_s)
    if isinstance(outcome, LostRace):
        raise LostRaceError(outcome.why)
    return Step.COMMITTED


def _started(region: Region, view: TaskView) -> bool:
    """The entry into analysis: its gates, then the tracker and people are told; once, by the ledger."""
    base_sha, repository = region.base()
    if not gates.all_pass(region, view, START_GATES, Bench(repository, base_sha)):
        return False
    note = f"{view.work_item} is taken up: {view.title}"
    scene = Scene(view=view, repository=repository, base_sha=base_sha, note=note, occasion="started")
    for kind in START_EFFECTS:
        effects.run(region, scene, kind)
    return True


@dataclass(frozen=True, slots=True)
class Start:
    """What a run is started from."""

    job: Job
    ports: ProjectPorts
    spec: AgentSpec
    repository: RepositoryConfig
    turn: int
    verdict_errors: tuple[str, ...] = ()
    earlier: Earlier | None = None


def launch_agent(engine: Engine, job_id: int) -> None:
    """Start the agent of a queued job on this node: claim by compare-and-swap, worktree, shim; then return.

    A doubled message finds the job no longer queued and leaves.
    """
    with engine.store.transaction() as connection:
        job = jobs.get(connection, job_id)
        running = jobs.running_on(connection, engine.host.node)
    if job is None or job.status is not JobStatus.QUEUED or not _has_room(engine, job, running):
        return
    ports = engine.project(job.project)
    spec = ports.config.agent_for(job.stage)
    if spec is None:
        return
    try:
        ports.workspaces.fetch()
        repository = ports.repository.at(ports.workspaces.base_tip())
        start = Start(job, ports, spec, repository, turn=0, earlier=earlier_session(engine, job, spec))
    except OrchestratorError as error:
        _log.warning("the agent of %s cannot be prepared yet: %s", job.work_item, error)
        return
    run = new_run(engine, start)
    with engine.store.transaction(Actor.MONITOR) as connection:
        begun = jobs.begin(connection, job_id, run)
        if isinstance(begun, Committed):
            tasks.set_worktree_node(connection, job.task_id, engine.host.node)
    if isinstance(begun, LostRace):
        _give_back(engine, job)
        return
    hit("job.claimed")
    spawn(engine, start, run)


def _give_back(engine: Engine, job: Job) -> None:
    """This node was drained after the job was sent to it: another one may start it at once."""
    with engine.store.transaction(Actor.MONITOR) as connection:
        given_back = jobs.give_back(connection, job.id, engine.host.node)
    if isinstance(given_back, Committed):
        engine.nudges.drive(job.task_id, job.work_item, Actor.MONITOR)


def _has_room(engine: Engine, job: Job, running: int) -> bool:
    limits = engine.project(job.project).config.limits
    return running < limits.runs_per_node and engine.host.free_bytes(engine.runs_dir.parent) >= limits.free_disk_bytes


def new_run(engine: Engine, start: Start) -> NewRun:
    """The row of a run about to start; this process is its launcher until the shim's identity is known."""
    run_id = uuid.uuid4().hex
    return NewRun(
        run_id=run_id,
        turn=start.turn,
        runtime=start.spec.runtime,
        node=engine.host.node,
        run_dir=str(engine.runs_dir / run_id),
        config_digest=start.repository.digest,
        launcher=engine.owner(),
        session_id=None if start.earlier is None else start.earlier.session_id,
    )


def spawn(engine: Engine, start: Start, run: NewRun) -> None:
    """From the claimed row to a living process; what goes wrong before it lives ends the job with its reason."""
    try:
        workspaces = start.ports.workspaces
        late_verdicts.note_before(engine, start.job)
        branch, obeyed = start.job.branch, _obeyed_files(start.repository)
        worktree = workspaces.path_of(branch) if start.turn else workspaces.prepare(branch, obeyed)
        request = AgentRequest(
            run_id=run.run_id,
            run_dir=engine.runs_dir / run.run_id,
            worktree=worktree,
            prompt=engine.prompts.render(start.job.stage, _facts(engine, start, run)),
            spec=start.spec,
            stage=start.job.stage,
            session_id=run.session_id,
            home_of=None if start.earlier is None else start.earlier.run_dir,
        )
        owner = engine.agents.start(request)
    except OrchestratorError as error:
        _failed_start(engine, start.job, error)
        return
    hit("job.spawned")
    with engine.store.transaction(Actor.MONITOR) as connection:
        jobs.adopt_run(connection, run.run_id, owner)
        job = jobs.get(connection, start.job.id)
    if job is not None and job.stop_requested:
        engine.nudges.drive(job.task_id, job.work_item, Actor.MONITOR)


def _obeyed_files(repository: RepositoryConfig) -> tuple[str, ...]:
    """What agents' CLIs obey comes from the base branch: an agent of an earlier run must not widen what this one may
    do. Not where the repository wants such changes: they would be undone."""
    return () if repository.gates.allow_protected_changes else tuple(one.removesuffix("/**") for one in AGENT_FILES)


def _facts(engine: Engine, start: Start, run: NewRun) -> PromptFacts:
    item, config = _item(engine, start.job), start.ports.config
    return PromptFacts(
        run_id=run.run_id,
        work_item=start.job.work_item,
        title=item[0],
        body=item[1],
        documents=_documents(start),
        evidence=start.job.evidence,
        instructions=start.repository.prompts.get(start.job.stage, ""),
        base_branch=config.base_branch,
        test_command=start.repository.test,
        verdict_errors=start.verdict_errors,
        template=_own_template(engine, start),
    )


def _own_template(engine: Engine, start: Start) -> str:
    """The repository's own text, from the base branch: an agent never writes what the next one is told to do."""
    workspaces = start.ports.workspaces
    found = workspaces.read_file(workspaces.base_tip(), engine.prompts.own_template(start.job.stage))
    return "" if found is None else found.decode("utf-8", "replace")


def prompt_of(engine: Engine, task_id: int) -> str:
    """What the agent of the task's live job is told, or would be if it were started now.

    Raises UsageError when no agent works on it, ConfigurationError for a template that cannot be filled.
    """
    with engine.store.transaction() as connection:
        job = jobs.live_of_task(connection, task_id)
    ports = None if job is None else engine.project(job.project)
    spec = None if job is None or ports is None else ports.config.agent_for(job.stage)
    if job is None or ports is None or spec is None:
        raise UsageError("no agent works on it now", remedy="`orch why` tells what it waits for")
    ports.workspaces.fetch()
    start = Start(job, ports, spec, ports.repository.at(ports.workspaces.base_tip()), turn=0)
    return engine.prompts.render(job.stage, _facts(engine, start, new_run(engine, start)))


def _item(engine: Engine, job: Job) -> tuple[str, str]:
    with engine.store.transaction() as connection:
        return tasks.words(connection, job.task_id)


def _documents(start: Start) -> tuple[str, ...]:
    """Documents of earlier stages as they stand on the task's branch."""
    workspaces, folder = start.ports.workspaces, f"docs/work-items/{start.job.work_item}/"
    tip = workspaces.branch_tip(start.job.branch) or workspaces.base_tip()
    return tuple(path for path in workspaces.list_files(tip) if path.startswith(folder))


def _failed_start(engine: Engine, job: Job, error: OrchestratorError) -> None:
    """Nothing runs. What may pass is tried again and not counted; what will not is for a person."""
    passes = isinstance(error, TransientError)
    with engine.store.transaction(Actor.MONITOR) as connection:
        if passes:
            jobs.flip(connection, job.id, JobStatus.LOST, Outcome.LOST, str(error), counted=False)
            tasks.delay(connection, job.task_id, _START_RETRY_S)
        else:
            jobs.flip(connection, job.id, JobStatus.FINISHED, Outcome.BAD_START, str(error), counted=False)
    _log.warning("the agent of %s did not start: %s", job.work_item, error)
    engine.nudges.drive(job.task_id, job.work_item, Actor.MONITOR)
