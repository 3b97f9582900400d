"""The stage commit: the only statement in the project that writes ``tasks.stage``.

It is a compare-and-swap on stage, stage_seq and epoch in one row. stage_seq closes A -> B -> A; the epoch closes the
owner whose lease was taken away. Event, lease release, the end of the old job and the next job stand in the same
transaction, so that no crash can leave one without the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from orchestrator.domain.ownership import Committed, HeldLease, LostRace
from orchestrator.domain.stages import SERIAL_STAGES, TERMINAL, Stage
from orchestrator.domain.views import JobStatus, Outcome
from orchestrator.failpoints import hit
from orchestrator.store import counters, jobs, leases, stage_durations


@dataclass(frozen=True, slots=True)
class NextJob:
    """The job that the new visit starts with; ``evidence`` is what its agent is told about the way here."""

    evidence: str = ""


@dataclass(frozen=True, slots=True)
class StageCommit:
    """One decided step. ``expected`` and ``seq`` are what the decision was made on.

    ``serial_limit``: at most so many tasks of the project between development and done, counted in this
    transaction. ``new_branch``: a fix after the merge starts on a branch of its own (``generation`` + 1).
    """

    expected: Stage
    seq: int
    target: Stage
    next_job: NextJob | None = None
    serial_limit: int | None = None
    new_branch: str | None = None
    job_ends_as: JobStatus = JobStatus.FINISHED


def commit_stage_cas(connection: Connection, held: HeldLease, step: StageCommit) -> Committed | LostRace:
    """Move the task, or say which fence it lost against; then nothing else happens and the loser leaves."""
    hit("stage.before_commit")
    task = leases.lock_task(connection, held.task_id)
    leases.mark_unenforced(connection, held)
    if step.serial_limit is not None and _is_full(connection, task.project, step.serial_limit):
        return LostRace("the project's serial gate is full")
    won = connection.execute(text(_guarded(held)), _values(held, step)).rowcount
    if not won:
        counters.add(connection, "cas_lost_total", held.actor)
        _record_loss(connection, held, step)
        return LostRace(f"the task is no longer at {step.expected} #{step.seq} under epoch {held.epoch}")
    jobs.end_live_job(connection, held.task_id, step.job_ends_as, Outcome.STOPPED)
    if step.next_job is not None:
        jobs.queue(connection, held.task_id, step.target, step.seq + 1, 0, step.next_job.evidence)
    leases.release(connection, held)
    stage_durations.count(connection, step.expected, step.target, task.stage_s)
    return Committed()


def _guarded(held: HeldLease) -> str:
    fences = "AND stage_seq = :seq AND lease_epoch = :epoch" if held.enforced else ""
    return f"""UPDATE tasks SET stage = :target, stage_seq = stage_seq + 1, round = 0,
          stage_entered_at = clock_timestamp(), facts_at = clock_timestamp(),
          parked_reason = NULL, parked_at = NULL, retry_not_before = NULL,
          approved_by = NULL, approved_at = NULL, rejected_by = NULL, rejected_why = NULL, reasons = '[]',
          reasons_at = NULL, reasons_until = NULL,
          generation = generation + :grow, branch = coalesce(:branch, branch),
          head_sha = CASE WHEN :grow = 1 THEN NULL ELSE head_sha END,
          pull_request = CASE WHEN :grow = 1 THEN NULL ELSE pull_request END,
          merged_sha = CASE WHEN :grow = 1 THEN NULL ELSE merged_sha END
        WHERE id = :id AND stage = :expected {fences}"""  # the two texts are constants of this module


def _values(held: HeldLease, step: StageCommit) -> dict[str, object]:
    return {
        "id": held.task_id,
        "target": step.target,
        "expected": step.expected,
        "seq": step.seq,
        "epoch": held.epoch,
        "branch": step.new_branch,
        "grow": int(step.new_branch is not None),
    }


def _is_full(connection: Connection, project: str, limit: int) -> bool:
    # Two tasks of one project lock two rows; only a lock of the project makes the count of both the same.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"serial:{project}"})
    return serial_load(connection, project) >= limit


def serial_load(connection: Connection, project: str, besides: int | None = None) -> int:
    """How many tasks of ``project`` stand between development and done, not counting task ``besides``."""
    stages = ", ".join(f"'{stage}'" for stage in sorted(SERIAL_STAGES - TERMINAL))
    return int(
        connection.execute(
            text(
                f"""SELECT count(*) FROM tasks WHERE project = :p AND stage IN ({stages})
                AND (CAST(:t AS bigint) IS NULL OR id <> :t)"""  # constants
            ),
            {"p": project, "t": besides},
        ).scalar_one()
    )


def _record_loss(connection: Connection, held: HeldLease, step: StageCommit) -> None:
    connection.execute(
        text(
            """INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail)
            SELECT id, work_item, 'stage.cas_lost', :actor, stage_seq, lease_epoch,
              jsonb_build_object('from', CAST(:f AS text), 'to', CAST(:t AS text), 'seq', CAST(:s AS int),
                                 'epoch', CAST(:e AS bigint), 'found', stage)
            FROM tasks WHERE id = :id"""
        ),
        {
            "id": held.task_id,
            "actor": held.actor,
            "f": step.expected,
            "t": step.target,
            "s": step.seq,
            "e": held.epoch,
        },
    )
