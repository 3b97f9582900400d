"""An ended run is finished once: its exit recorded, its verdict read, its work committed and pushed, both as facts."""

from __future__ import annotations

import logging
from typing import Final

from orchestrator.domain import verdicts
from orchestrator.domain.decide import QUOTA_DELAY_S
from orchestrator.domain.errors import LostRaceError, OrchestratorError
from orchestrator.domain.ownership import Busy, LostRace
from orchestrator.domain.run_reports import RunReport, outcome_of, wants_repair
from orchestrator.domain.stages import Actor
from orchestrator.domain.verdicts import InvalidVerdict, Verdict
from orchestrator.domain.views import JobStatus, Outcome
from orchestrator.engine import late_verdicts
from orchestrator.engine.agents import Start, new_run, spawn
from orchestrator.engine.context import Engine
from orchestrator.engine.region import Region, enter
from orchestrator.engine.resuming import RESUMABLE, Earlier
from orchestrator.engine.stopping import record_refusal
from orchestrator.failpoints import hit
from orchestrator.ports import RunExit
from orchestrator.store import events, jobs, provider_pauses, run_reports
from orchestrator.store.jobs import AgentRun, Job, Settlement

_SERVED: Final = (Outcome.VERDICT, Outcome.NO_VERDICT, Outcome.TURN_LIMIT, Outcome.CONTEXT_FULL)
"""Outcomes that only a provider which answers can lead to."""

_log = logging.getLogger(__name__)


def finish_job(engine: Engine, job_id: int) -> None:
    """Finish the job's newest run if it has ended; then let ``drive`` decide on the facts.

    Works under the lease, since it commits and pushes. A live owner inside, a reaped or stopped job: it leaves;
    the watcher and the reconciler come again.
    """
    with engine.store.transaction() as connection:
        job = jobs.get(connection, job_id)
        run = jobs.newest_run(connection, job_id)
    if job is None or run is None:
        return
    ended = engine.agents.exit_record(engine.runs_dir / run.run_id)
    if ended is None:
        return
    _record_exit(engine, run, ended)
    hit("job.exited")
    if job.settled_at is None and job.status is JobStatus.RUNNING and not _settle(engine, job, run, ended):
        return
    late_verdicts.note(engine, job_id)
    engine.agents.acknowledge(engine.runs_dir / run.run_id, keep_home=_may_be_resumed(engine, run))
    engine.nudges.drive(job.task_id, job.work_item, Actor.MONITOR)


def _may_be_resumed(engine: Engine, run: AgentRun) -> bool:
    """A run that the reaper took away has no outcome of its own: its job says how it ended."""
    with engine.store.transaction() as connection:
        now, job = jobs.run_by_id(connection, run.run_id), jobs.get(connection, run.job_id)
    own = None if now is None else now.outcome
    return (own or (None if job is None else job.outcome)) in RESUMABLE


def _record_exit(engine: Engine, run: AgentRun, ended: RunExit) -> None:
    with engine.store.transaction(Actor.MONITOR) as connection:
        jobs.record_exit(
            connection, run.run_id, exit_code=ended.exit_code, signal=ended.signal, reason=ended.reason, last_turn=True
        )


def _settle(engine: Engine, job: Job, run: AgentRun, ended: RunExit) -> bool:
    """True when nothing is left to do for this run: settled, followed by a repair turn, or not ours any more."""
    ports = engine.project(job.project)
    view = engine.view(job.task_id, ports.config)
    if view is None or job.stop_requested:
        return True
    try:
        with enter(engine, ports, view, edge=f"finish {job.stage}", actor=Actor.MONITOR) as region:
            if isinstance(region, Busy):
                return False
            now = region.view()
            if now.job is None or now.job.id != job.id or now.job.status is not JobStatus.RUNNING:
                return True
            return _read(region, job, run, ended)
    except LostRaceError as error:
        _log.info("finishing the run of %s: a race is lost: %s", job.work_item, error)
        record_refusal(engine, job.task_id, Actor.MONITOR, f"the end of job {job.id}", error.message)
    except OrchestratorError as error:
        _log.warning("the run of %s cannot be finished yet: %s", job.work_item, error)
    return False


def _read(region: Region, job: Job, run: AgentRun, ended: RunExit) -> bool:
    worktree = region.ports.workspaces.path_of(job.branch)
    found = (
        region.engine.verdicts.read(worktree, run.run_id)
        if worktree.exists()
        else InvalidVerdict(("$: the worktree is gone",))
    )
    report = region.engine.agents.report(region.engine.runs_dir / run.run_id, run.runtime)
    outcome = outcome_of(ended, report, has_verdict=isinstance(found, Verdict))
    _notice(region, job, run, report)
    if outcome is Outcome.BAD_START and run.session_id is not None:
        outcome = Outcome.INTERRUPTED  # the session is gone, the program is not: the next run begins a new one
    if isinstance(found, InvalidVerdict) and wants_repair(outcome, ended) and run.turn == 0 and worktree.exists():
        _keep_report(region, run, report, outcome)
        run_dir = region.engine.runs_dir / run.run_id
        earlier = None if report.session_id is None else Earlier(report.session_id, run_dir)
        return _repair(region, job, found, earlier)
    head = _keep_work(region, job) if worktree.exists() else None
    _keep_report(region, run, report, outcome)
    with region.engine.store.transaction(Actor.MONITOR) as connection:
        settled = jobs.settle(connection, job.id, _settlement(found, ended, report, outcome, head))
    if isinstance(settled, LostRace):
        _log.info("%s: %s", job.work_item, settled.why)
    hit("job.finished")
    return True


def _notice(region: Region, job: Job, run: AgentRun, report: RunReport) -> None:
    """What fails no run and should be known: tools that it was refused, lines of its stream that nobody could read, and
    what it changed of its repository's git. Once a run."""
    changed = region.ports.workspaces.changes_of_git(job.branch)
    noticed = {"refused": list(report.refused), "unread": report.unread, "git": list(changed)}
    if not any(noticed.values()):
        return
    with region.engine.store.transaction(Actor.MONITOR) as connection:
        if not events.has(connection, job.task_id, "run.noticed", {"run": run.run_id}):
            events.record(connection, job.task_id, "run.noticed", {"job": job.id, "run": run.run_id, **noticed})


def _keep_report(region: Region, run: AgentRun, report: RunReport, outcome: Outcome) -> None:
    """What the run used and in which session, on the run's row: a resumed session counts on from there."""
    with region.engine.store.transaction(Actor.MONITOR) as connection:
        run_reports.record_report(connection, run.run_id, report, outcome)
        if outcome is Outcome.QUOTA:
            provider_pauses.pause(connection, run.runtime, report.reset_at, report.detail, QUOTA_DELAY_S)
        elif outcome in _SERVED:
            provider_pauses.resume(connection, run.runtime, run.run_id)
        else:
            provider_pauses.give_back_try(connection, run.runtime, region.held.task_id)


def _settlement(
    found: Verdict | InvalidVerdict, ended: RunExit, report: RunReport, outcome: Outcome, head: str | None
) -> Settlement:
    """A verdict filed before the run was ended counts; without one, the way it ended is the outcome."""
    if isinstance(found, Verdict):
        return Settlement(outcome, verdicts.as_document(found), head)
    errors = found.errors if outcome is Outcome.NO_VERDICT else ()
    told = (*errors, report.detail, ended.detail)
    return Settlement(outcome, None, head, "; ".join(one for one in told if one), resume_at=report.reset_at)


def _keep_work(region: Region, job: Job) -> str | None:
    """Commit what the agent left and push it: a conditional push of the one commit that the verdict speaks of.

    A branch without any commit of its own is not pushed: there is nothing to keep, and its gates will say so.
    """
    workspaces = region.ports.workspaces
    workspaces.fetch()
    tip = workspaces.branch_tip(job.branch)
    head = workspaces.commit_all(job.branch, f"{job.work_item}: {job.stage}")
    if head != tip and not (tip is None and head == workspaces.base_tip()):
        try:
            workspaces.publish(job.branch, head, tip)
        except LostRaceError as error:
            # Somebody else pushed to the branch: the verdict speaks of a head that is not there, so it has none.
            _log.warning("the work of %s was not pushed: %s", job.work_item, error)
            return None
    return head


def _repair(region: Region, job: Job, found: InvalidVerdict, earlier: Earlier | None) -> bool:
    """One more turn that quotes what was wrong with the verdict, in the same session where the CLI has one; nothing
    is guessed from prose."""
    engine, ports = region.engine, region.ports
    spec = ports.config.agent_for(job.stage)
    assert spec is not None, "a running job has an agent"
    _, repository = region.base()
    start = Start(job, ports, spec, repository, turn=1, verdict_errors=found.errors, earlier=earlier)
    run = new_run(engine, start)
    with engine.store.transaction(Actor.MONITOR) as connection:
        begun = jobs.begin_repair(connection, job.id, run)
        events.record(connection, job.task_id, "verdict.refused", {"job": job.id, "errors": list(found.errors)})
    if not isinstance(begun, LostRace):
        spawn(engine, start, run)
    return True
