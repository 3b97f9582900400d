"""The job reaper: one bounded sweep over live jobs and held leases, three tiers, each with its evidence.

It holds no lease of the kind it frees. On a job it writes one thing, the terminal flip; whoever wins that flip, and
only it, records the outcome and nudges.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, assert_never

from orchestrator.domain.decide import Wait, decide
from orchestrator.domain.errors import TransientError
from orchestrator.domain.ownership import Committed, Lease, Liveness, Owner, is_alive
from orchestrator.domain.repair import Bounds, Defer, JobSight, Leave, NudgeFinish, Reap, Repair, Tier, repair_of
from orchestrator.domain.stages import Actor
from orchestrator.domain.views import JobStatus, Outcome
from orchestrator.engine import late_verdicts, nodes
from orchestrator.engine.context import Engine
from orchestrator.ports import Notification
from orchestrator.store import counters, events, jobs, leases
from orchestrator.store.jobs import AgentRun, Job

_log = logging.getLogger(__name__)
_KILL_S: Final = 10.0
_DEAD_HERE: Final = (Liveness.DEAD,)


@dataclass(slots=True)
class ReapSummary:
    """What one sweep found: how many of each, and the units that failed with their errors."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        words = [f"{name} {count}" for name, count in sorted(self.counts.items())]
        return ", ".join([*words, *(f"failed: {one}" for one in self.failures)]) or "nothing to do"


def reap(engine: Engine) -> ReapSummary:
    """One sweep. A unit that fails is recorded and leaves the others alone."""
    summary = ReapSummary()
    _alone(summary, f"node {engine.host.node}", lambda: nodes.beat(engine))
    with engine.store.transaction() as connection:
        running = [job for job in jobs.live(connection) if job.status is JobStatus.RUNNING]
        held = leases.held_leases(connection)
    for job in running:
        _alone(summary, f"job {job.id} of {job.work_item}", lambda job=job: _look_at_job(engine, job))  # type: ignore[misc]  # mypy cannot infer a lambda's default
    for lease in held:
        _alone(summary, f"lease of task {lease.task_id}", lambda lease=lease: _look_at_lease(engine, lease))  # type: ignore[misc]  # as above
    if engine.switches.lease_reclaim_enabled:
        _alone(summary, "merge lanes", lambda: _free_lanes(engine))
    return summary


def _alone(summary: ReapSummary, unit: str, look: Callable[[], str]) -> None:
    try:
        summary.counts[look()] += 1
    except Exception as error:  # a sweep unit: one bad row must never stop the sweep
        _log.exception("the reaper could not look at %s", unit)
        summary.failures.append(f"{unit}: {error}")


def _look_at_job(engine: Engine, job: Job) -> str:
    with engine.store.transaction() as connection:
        run = jobs.newest_run(connection, job.id)
        lease = leases.lease_of(connection, job.task_id)
    repair = repair_of(_sight(engine, job, run, lease), _bounds(engine))
    return _apply(engine, job, run, lease, repair)


def _bounds(engine: Engine) -> Bounds:
    timings = engine.timings
    return Bounds(timings.reaper_dead_ticks, timings.reaper_finalize_grace_s, timings.reaper_max_running_s)


def _sight(engine: Engine, job: Job, run: AgentRun | None, lease: Lease | None) -> JobSight:
    here = run is not None and run.node == engine.host.node
    has_record = here and run is not None and engine.agents.exit_record(engine.runs_dir / run.run_id) is not None
    return JobSight(
        running_s=job.running_s,
        exited_s=None if job.exited_at is None else job.exited_s,
        settled=job.settled_at is not None,
        waits=_waits(engine, job),
        process_dead=None if has_record or run is None else _is_dead(engine, run, here=here),
        exit_unrecorded=has_record and job.exited_at is None,
        dead_ticks=job.dead_ticks,
        finalizer_alive=_finalizer_alive(engine, job, lease),
    )


def _waits(engine: Engine, job: Job) -> bool:
    """Whether the job was read and its task has nothing to do now: then there is nothing that anybody left undone."""
    if job.settled_at is None or job.exited_s <= engine.timings.reaper_finalize_grace_s:
        return False
    view = engine.view(job.task_id, engine.project(job.project).config)
    return view is not None and isinstance(decide(view, engine.clock.now()), Wait)


def _is_dead(engine: Engine, run: AgentRun, *, here: bool) -> bool:
    """The shim where one came up; before that, whoever was to start it."""
    owner = run.owner
    if owner is None and here:
        owner = engine.agents.owner(engine.runs_dir / run.run_id)
    owner = owner or run.launcher
    return owner is not None and engine.host.liveness(owner) in _DEAD_HERE


def _finalizer_alive(engine: Engine, job: Job, lease: Lease | None) -> bool:
    if not engine.switches.reaper_finalizer_liveness_enabled:
        return False
    if engine.lease_is_enforced(job.project):
        owner = lease.owner if lease is not None and lease.is_held else None
    else:
        owner = job.finalizer
    return owner is not None and is_alive(owner, engine.host)


def _apply(engine: Engine, job: Job, run: AgentRun | None, lease: Lease | None, repair: Repair) -> str:
    match repair:
        case Leave(dead_seen):
            if dead_seen or job.dead_ticks:
                with engine.store.transaction() as connection:
                    jobs.count_dead_tick(connection, job.id, dead=dead_seen)
            return "left"
        case NudgeFinish():
            engine.nudges.finish_job(job.node or "", job.id, job.work_item)
            return "finish nudged"
        case Defer():
            with engine.store.transaction() as connection:
                counters.add(connection, "finalizer_defers_total")
            return "deferred"
        case Reap(tier, evidence):
            return _reap(engine, job, run, lease, tier, evidence)
        case _:
            assert_never(repair)


def _reap(engine: Engine, job: Job, run: AgentRun | None, lease: Lease | None, tier: Tier, evidence: str) -> str:
    won = True
    match tier:
        case Tier.DEAD_PROCESS:
            told = "; ".join([evidence, *_end_run(engine, run)])
            won = _flip(engine, job, tier, JobStatus.LOST, Outcome.LOST, told)
        case Tier.NOT_FINALIZED:
            _record(engine, job, tier, evidence)
            if job.settled_at is None:
                engine.nudges.finish_job(job.node or "", job.id, job.work_item)
            else:
                engine.nudges.drive(job.task_id, job.work_item, Actor.REAPER)
        case Tier.CEILING:
            won = _end_at_ceiling(engine, job, run, lease, evidence)
        case _:
            assert_never(tier)
    return f"tier {int(tier)}" if won else "left"


def _end_run(engine: Engine, run: AgentRun | None) -> list[str]:
    """End what the run has on this node; a line for each process that was ended. Raises TransientError for what could
    not be. A dead shim ends nobody: what its agent started in sessions of its own would go on writing beside the next
    run."""
    if run is None or run.node != engine.host.node or not (engine.runs_dir / run.run_id).exists():
        return []
    return list(engine.agents.stop(engine.runs_dir / run.run_id, engine.timings.stop_grace_s))


def _flip(engine: Engine, job: Job, tier: Tier, status: JobStatus, outcome: Outcome, evidence: str) -> bool:
    """True for the one that ended the job; the loser has nothing to record, to nudge or to tell."""
    counted = outcome is not Outcome.LOST
    with engine.store.transaction(Actor.REAPER) as connection:
        won = jobs.flip(connection, job.id, status, outcome, f"tier {int(tier)}: {evidence}", counted=counted)
    if isinstance(won, Committed):
        _record(engine, job, tier, evidence)
        late_verdicts.note(engine, job.id)
        engine.nudges.drive(job.task_id, job.work_item, Actor.REAPER)
    return isinstance(won, Committed)


def _record(engine: Engine, job: Job, tier: Tier, evidence: str) -> None:
    with engine.store.transaction(Actor.REAPER) as connection:
        counters.add(connection, "reaps_total", str(int(tier)))
        events.record(connection, job.task_id, "job.reaped", {"job": job.id, "tier": int(tier), "evidence": evidence})


def _end_at_ceiling(engine: Engine, job: Job, run: AgentRun | None, lease: Lease | None, evidence: str) -> bool:
    """Bounded, always: kill the run and the lease's owner, see them dead, and only then free what they held."""
    try:
        proof = _end_run(engine, run)
    except TransientError as error:
        proof = [error.message]  # what cannot be ended must not keep the job running for ever
    if lease is not None and lease.is_held:
        proof.append(_take_away(engine, lease, evidence)[0])
    told = "; ".join([evidence, *proof])
    won = _flip(engine, job, Tier.CEILING, JobStatus.FINISHED, Outcome.KILLED, told)
    if won:
        _alert(engine, job.work_item, told)
    return won


def _take_away(engine: Engine, lease: Lease, evidence: str) -> tuple[str, bool]:
    """Kill the lease's owner by full identity, see it dead, end its command, release by force; what to tell people,
    and whether this was the one that released it.

    An owner that cannot be killed loses the lease all the same: its later writes are refused by the raised epoch.
    """
    owner = lease.owner
    dead = owner is None or not is_alive(owner, engine.host) or engine.host.kill(owner, _KILL_S)
    if lease.child is not None and _is_of_this_boot(engine, owner):
        child = lease.child
        dead = engine.host.kill_group(child.pgid, _KILL_S, child.start_ticks) and dead
    with engine.store.transaction(Actor.REAPER) as connection:
        freed = leases.force_release(connection, lease.task_id, why=f"tier 3: {evidence}", epoch=lease.epoch)
    told = f"owner {owner} {'is dead' if dead else 'could NOT be killed'}, its lease was taken away"
    return told, isinstance(freed, Committed)


def _is_of_this_boot(engine: Engine, owner: Owner | None) -> bool:
    return owner is not None and owner.node == engine.host.node and owner.boot_id == engine.host.boot_id


def _alert(engine: Engine, work_item: str, text: str) -> None:
    for notifier in engine.notifiers:
        try:
            notifier.send(Notification(f"{work_item}: forced reclaim", text, severity="alert"))
        except Exception:  # an alert that cannot be sent must not undo the repair; it stands in the events too
            _log.exception("the alert about %s could not be sent by %s", work_item, notifier.name)


def _look_at_lease(engine: Engine, lease: Lease) -> str:
    """A dead owner's lease is freed at once; a live one only at the ceiling."""
    owner = lease.owner
    with engine.store.transaction() as connection:
        now = leases.lease_of(connection, lease.task_id)
        age_s = leases.age_s(connection, lease.task_id)
    if owner is None or now is None or not now.is_held or now.epoch != lease.epoch:
        return "left"  # given back since, or taken away at its job's ceiling a moment ago
    if not is_alive(owner, engine.host):
        return _free_dead(engine, lease)
    if age_s <= engine.timings.reaper_max_running_s:
        return "left"
    told, freed = _take_away(engine, lease, f"the lease is held for {age_s:.0f} s")
    if not freed:
        return "left"  # another reaper was first: it counts and tells
    with engine.store.transaction(Actor.REAPER) as connection:
        counters.add(connection, "reaps_total", str(int(Tier.CEILING)))
        task = leases.lock_task(connection, lease.task_id)
    _alert(engine, task.work_item, told)
    engine.nudges.drive(lease.task_id, task.work_item, Actor.REAPER)
    return "tier 3"


def _free_dead(engine: Engine, lease: Lease) -> str:
    """The child group stays named in the row: whoever takes the lease over ends it before anything else."""
    with engine.store.transaction(Actor.REAPER) as connection:
        freed = leases.force_release(connection, lease.task_id, why=f"owner {lease.owner} is dead", epoch=lease.epoch)
        task = leases.lock_task(connection, lease.task_id)
    if isinstance(freed, Committed):
        engine.nudges.drive(lease.task_id, task.work_item, Actor.REAPER)
    return "dead owner freed"


def _free_lanes(engine: Engine) -> str:
    with engine.store.transaction(Actor.REAPER) as connection:
        freed = leases.free_unused_lanes(connection, engine.host)
    return "unused lane freed" if freed else "lanes left"
