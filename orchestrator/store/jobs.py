"""Jobs and agent runs: the wish that an agent do a stage, and the processes that tried it.

The terminal flip of a job is one conditional statement; whoever wins it, and only it, records the outcome.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, Row, text

from orchestrator.domain.ownership import Committed, LostRace, Owner
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import JobStatus, Outcome
from orchestrator.store.owners import owner_values, read_owner
from orchestrator.store.schema import LIVE_JOB, LIVE_STAGE, OWNER_FIELDS


@dataclass(frozen=True, slots=True)
class Job:
    """A job row with the fences of its task as they were at the read."""

    id: int
    task_id: int
    work_item: str
    project: str
    stage: Stage
    visit: int
    round: int
    status: JobStatus
    node: str | None
    evidence: str
    branch: str
    started_at: datetime | None
    exited_at: datetime | None
    exit_code: int | None
    settled_at: datetime | None
    outcome: Outcome | None
    dead_ticks: int
    running_s: float
    exited_s: float
    dispatched_s: float | None
    finalizer: Owner | None
    stop_requested: bool


@dataclass(frozen=True, slots=True)
class AgentRun:
    """One process that tried a job. ``owner`` is the shim's identity once it came up."""

    id: int
    job_id: int
    run_id: str
    turn: int
    runtime: str
    node: str
    run_dir: str
    launcher: Owner | None
    owner: Owner | None
    exited_at: datetime | None
    exit_reason: str | None
    session_id: str | None = None
    outcome: Outcome | None = None


_JOB = """SELECT j.*, t.work_item, t.project, t.branch, t.stop_requested_at IS NOT NULL AS stopping,
  extract(epoch FROM clock_timestamp() - j.started_at) AS running_s,
  extract(epoch FROM clock_timestamp() - j.exited_at) AS exited_s,
  extract(epoch FROM clock_timestamp() - j.dispatched_at) AS dispatched_s
  FROM jobs j JOIN tasks t ON t.id = j.task_id"""


def queue(connection: Connection, task_id: int, stage: Stage, visit: int, round_: int, evidence: str) -> int:
    """Add the job of a round. The schema refuses a second live one."""
    return int(
        connection.execute(
            text(
                """INSERT INTO jobs (task_id, stage, visit, round, evidence) VALUES (:t, :s, :v, :r, :e)
                RETURNING id"""
            ),
            {"t": task_id, "s": stage, "v": visit, "r": round_, "e": evidence},
        ).scalar_one()
    )


def get(connection: Connection, job_id: int) -> Job | None:
    row = connection.execute(text(f"{_JOB} WHERE j.id = :id"), {"id": job_id}).one_or_none()
    return None if row is None else _job(row)


def live(connection: Connection) -> Sequence[Job]:
    """Every queued or running job, oldest first."""
    return [_job(row) for row in connection.execute(text(f"{_JOB} WHERE j.{LIVE_JOB} ORDER BY j.id"))]


def live_of_task(connection: Connection, task_id: int) -> Job | None:
    row = connection.execute(text(f"{_JOB} WHERE j.task_id = :t AND j.{LIVE_JOB}"), {"t": task_id}).one_or_none()
    return None if row is None else _job(row)


def _job(row: Row[tuple[object, ...]]) -> Job:
    return Job(
        id=row.id,
        task_id=row.task_id,
        work_item=row.work_item,
        project=row.project,
        stage=Stage(row.stage),
        visit=row.visit,
        round=row.round,
        status=JobStatus(row.status),
        node=row.node,
        evidence=row.evidence,
        branch=row.branch,
        started_at=row.started_at,
        exited_at=row.exited_at,
        exit_code=row.exit_code,
        settled_at=row.settled_at,
        outcome=None if row.outcome is None else Outcome(row.outcome),
        dead_ticks=row.dead_ticks,
        running_s=float(row.running_s or 0.0),
        exited_s=float(row.exited_s or 0.0),
        dispatched_s=None if row.dispatched_s is None else float(row.dispatched_s),
        finalizer=read_owner(row, "finalizer"),
        stop_requested=row.stopping,
    )


def dispatch(connection: Connection, job_id: int, node: str) -> Committed | LostRace:
    """Name the node that is to start the queued job. Lost race: it is no longer queued."""
    done = connection.execute(
        text("UPDATE jobs SET node = :n, dispatched_at = clock_timestamp() WHERE id = :id AND status = 'queued'"),
        {"id": job_id, "n": node},
    )
    return Committed() if done.rowcount else LostRace("the job is no longer queued")


def give_back(connection: Connection, job_id: int, node: str) -> Committed | LostRace:
    """Take the queued job from ``node``, which takes nothing new, so that another one can be named. Lost race: it was
    begun, ended, or the node takes work."""
    done = connection.execute(
        text(
            """UPDATE jobs SET node = NULL, dispatched_at = NULL WHERE id = :id AND status = 'queued' AND node = :n
            AND EXISTS (SELECT FROM nodes n WHERE n.node = :n AND n.draining)"""
        ),
        {"id": job_id, "n": node},
    )
    return Committed() if done.rowcount else LostRace("the job is not queued there, or the node takes work")


def begin(connection: Connection, job_id: int, run: NewRun) -> Committed | LostRace:
    """``queued -> running`` by compare-and-swap, with the run's row. Lost race: another launcher has it, STOP, or the
    node takes nothing new by now."""
    done = connection.execute(
        text(
            """UPDATE jobs SET status = 'running', started_at = clock_timestamp(), node = :n
            WHERE id = :id AND status = 'queued'
              AND NOT EXISTS (SELECT FROM tasks t WHERE t.id = jobs.task_id AND t.stop_requested_at IS NOT NULL)
              AND NOT EXISTS (SELECT FROM nodes n WHERE n.node = :n AND n.draining)"""
        ),
        {"id": job_id, "n": run.node},
    )
    if not done.rowcount:
        return LostRace("the job is no longer queued")
    add_run(connection, job_id, run)
    return Committed()


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run about to start. ``turn`` 1 is the repair turn; ``session_id``: the session that it goes on with."""

    run_id: str
    turn: int
    runtime: str
    node: str
    run_dir: str
    config_digest: str
    launcher: Owner
    session_id: str | None = None


def add_run(connection: Connection, job_id: int, run: NewRun) -> Committed | LostRace:
    """Write the row of a run before its process starts. Lost race: that turn was begun already."""
    done = connection.execute(
        text(
            """INSERT INTO agent_runs (job_id, run_id, turn, runtime, node, run_dir, config_digest, session_id,
              launcher_node, launcher_boot_id, launcher_pid_ns, launcher_pid, launcher_start_ticks)
            VALUES (:job, :run_id, :turn, :runtime, :node, :run_dir, :digest, :session, :launcher_node,
              :launcher_boot_id, :launcher_pid_ns, :launcher_pid, :launcher_start_ticks)
            ON CONFLICT (job_id, turn) DO NOTHING"""
        ),
        {
            "job": job_id,
            "run_id": run.run_id,
            "turn": run.turn,
            "runtime": run.runtime,
            "node": run.node,
            "run_dir": run.run_dir,
            "digest": run.config_digest,
            "session": run.session_id,
            **owner_values(run.launcher, "launcher"),
        },
    )
    return Committed() if done.rowcount else LostRace("that turn was begun already")


def begin_repair(connection: Connection, job_id: int, run: NewRun) -> Committed | LostRace:
    """Begin the job's repair turn: it has a process again, so its exit is taken back. Lost race: begun, or ended."""
    done = connection.execute(
        text(
            """UPDATE jobs SET exited_at = NULL, exit_code = NULL
            WHERE id = :id AND status = 'running' AND settled_at IS NULL"""
        ),
        {"id": job_id},
    )
    return add_run(connection, job_id, run) if done.rowcount else LostRace("the job is no longer running")


def adopt_run(connection: Connection, run_id: str, owner: Owner) -> Committed | LostRace:
    """Write down the shim's identity. Lost race: it is known already."""
    done = connection.execute(
        text(
            """UPDATE agent_runs SET owner_node = :owner_node, owner_boot_id = :owner_boot_id,
              owner_pid_ns = :owner_pid_ns, owner_pid = :owner_pid, owner_start_ticks = :owner_start_ticks
            WHERE run_id = :r AND owner_pid IS NULL"""
        ),
        {"r": run_id, **owner_values(owner)},
    )
    return Committed() if done.rowcount else LostRace("the run was adopted already")


def newest_run(connection: Connection, job_id: int) -> AgentRun | None:
    """The run of the job's last turn."""
    row = connection.execute(
        text("SELECT * FROM agent_runs WHERE job_id = :j ORDER BY turn DESC LIMIT 1"), {"j": job_id}
    ).one_or_none()
    return None if row is None else _run(row)


def newest_run_of_task(connection: Connection, task_id: int) -> AgentRun | None:
    """The run that was started last for any job of the task."""
    row = connection.execute(
        text(
            """SELECT r.* FROM agent_runs r JOIN jobs j ON j.id = r.job_id WHERE j.task_id = :t
            ORDER BY r.id DESC LIMIT 1"""
        ),
        {"t": task_id},
    ).one_or_none()
    return None if row is None else _run(row)


def run_before(connection: Connection, job: Job) -> AgentRun | None:
    """The last run of the round before this one in the same visit; ``outcome`` is its job's where it has none."""
    row = connection.execute(
        text(
            """SELECT r.*, j.outcome AS job_outcome FROM agent_runs r JOIN jobs j ON j.id = r.job_id
            JOIN jobs present ON present.id = :id
            WHERE j.task_id = present.task_id AND j.visit = present.visit AND j.round < present.round
            ORDER BY j.round DESC, r.turn DESC LIMIT 1"""
        ),
        {"id": job.id},
    ).one_or_none()
    if row is None:
        return None
    run = _run(row)
    return run if run.outcome or not row.job_outcome else replace(run, outcome=Outcome(row.job_outcome))


def run_by_id(connection: Connection, run_id: str) -> AgentRun | None:
    row = connection.execute(text("SELECT * FROM agent_runs WHERE run_id = :r"), {"r": run_id}).one_or_none()
    return None if row is None else _run(row)


def over_since(connection: Connection, run_ids: Sequence[str], age_s: float) -> Sequence[str]:
    """Those of ``run_ids`` whose task ended, and whose job did more than ``age_s`` seconds ago. An unknown run is none
    of them: its row may be in another database."""
    rows = connection.execute(
        text(
            f"""SELECT r.run_id FROM agent_runs r JOIN jobs j ON j.id = r.job_id JOIN tasks t ON t.id = j.task_id
            WHERE r.run_id = ANY(:runs) AND NOT (t.{LIVE_STAGE})
              AND j.finished_at < clock_timestamp() - make_interval(secs => :age)"""
        ),
        {"runs": list(run_ids), "age": age_s},
    )
    return [row.run_id for row in rows]


def _run(row: Row[tuple[object, ...]]) -> AgentRun:
    return AgentRun(
        id=row.id,
        job_id=row.job_id,
        run_id=row.run_id,
        turn=row.turn,
        runtime=row.runtime,
        node=row.node,
        run_dir=row.run_dir,
        launcher=read_owner(row, "launcher"),
        owner=read_owner(row),
        exited_at=row.exited_at,
        exit_reason=row.exit_reason,
        session_id=row.session_id,
        outcome=None if row.outcome is None else Outcome(row.outcome),
    )


def record_exit(
    connection: Connection, run_id: str, *, exit_code: int | None, signal: int | None, reason: str, last_turn: bool
) -> Committed | LostRace:
    """The process is known to have ended. ``last_turn``: no repair turn follows, so the job has exited too."""
    done = connection.execute(
        text(
            """UPDATE agent_runs SET exited_at = clock_timestamp(), exit_code = :c, exit_signal = :s, exit_reason = :r
            WHERE run_id = :id AND exited_at IS NULL RETURNING job_id"""
        ),
        {"id": run_id, "c": exit_code, "s": signal, "r": reason},
    ).one_or_none()
    if done is None:
        return LostRace("the exit is known already")
    if last_turn:
        mark_exited(connection, done.job_id, exit_code)
    return Committed()


def mark_exited(connection: Connection, job_id: int, exit_code: int | None) -> None:
    """The job has no process any more; what it left is still to be read."""
    connection.execute(
        text(
            """UPDATE jobs SET exited_at = clock_timestamp(), exit_code = :c
            WHERE id = :j AND exited_at IS NULL AND status = 'running'"""
        ),
        {"j": job_id, "c": exit_code},
    )


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a finished run left: how it ended, what it says, and the head that holds its work. ``resume_at``: when a
    provider's quota comes back."""

    outcome: Outcome
    verdict: dict[str, object] | None
    head_sha: str | None
    detail: str = ""
    resume_at: datetime | None = None


def settle(connection: Connection, job_id: int, found: Settlement) -> Committed | LostRace:
    """Record verdict and head as facts; the job stays running until its edge is committed.

    Lost race: it was settled already, or is no longer running (reaped, or stopped): a late verdict changes nothing.
    """
    done = connection.execute(
        text(
            """UPDATE jobs SET settled_at = clock_timestamp(), exited_at = coalesce(exited_at, clock_timestamp()),
              outcome = :o, verdict = CAST(:v AS jsonb), head_sha = :h, detail = :d, resume_at = :r
            WHERE id = :id AND status = 'running' AND settled_at IS NULL RETURNING task_id"""
        ),
        {
            "id": job_id,
            "o": found.outcome,
            "v": None if found.verdict is None else json.dumps(found.verdict),
            "h": found.head_sha,
            "d": found.detail,
            "r": found.resume_at,
        },
    ).one_or_none()
    if done is None:
        return LostRace("the job was settled or ended already")
    connection.execute(
        text("UPDATE tasks SET facts_at = clock_timestamp(), head_sha = coalesce(:h, head_sha) WHERE id = :t"),
        {"t": done.task_id, "h": found.head_sha},
    )
    return Committed()


def set_finalizer(connection: Connection, task_id: int, owner: Owner | None) -> None:
    """Mark who finalizes the live job: what Tier 2 looks at while the lease is switched off."""
    connection.execute(
        text(
            f"""UPDATE jobs SET finalizer_node = :finalizer_node, finalizer_boot_id = :finalizer_boot_id,
              finalizer_pid_ns = :finalizer_pid_ns, finalizer_pid = :finalizer_pid,
              finalizer_start_ticks = :finalizer_start_ticks WHERE task_id = :t AND {LIVE_JOB}"""
        ),
        {"t": task_id, **owner_values(owner, "finalizer")},
    )


def clear_finalizer(connection: Connection, task_id: int, owner: Owner) -> None:
    """``owner`` has left the live job: a process that goes on to other work must not count as its finalizer."""
    fields = " AND ".join(f"finalizer_{field} = :finalizer_{field}" for field in OWNER_FIELDS)
    connection.execute(
        text(
            f"""UPDATE jobs SET finalizer_node = NULL, finalizer_boot_id = NULL, finalizer_pid_ns = NULL,
              finalizer_pid = NULL, finalizer_start_ticks = NULL WHERE task_id = :t AND {LIVE_JOB} AND {fields}"""
        ),
        {"t": task_id, **owner_values(owner, "finalizer")},
    )


def flip(
    connection: Connection, job_id: int, status: JobStatus, outcome: Outcome, detail: str, *, counted: bool
) -> Committed | LostRace:
    """The reaper's one mutating write: ``running`` to a terminal status. Lost race: somebody else ended it."""
    done = connection.execute(
        text(
            """UPDATE jobs SET status = :s, outcome = coalesce(outcome, :o), detail = :d, counted = :c,
              finished_at = clock_timestamp() WHERE id = :id AND status = 'running' RETURNING task_id"""
        ),
        {"id": job_id, "s": status, "o": outcome, "d": detail, "c": counted},
    ).one_or_none()
    if done is None:
        return LostRace("the job is no longer running")
    connection.execute(text("UPDATE tasks SET facts_at = clock_timestamp() WHERE id = :t"), {"t": done.task_id})
    return Committed()


def end_live_job(connection: Connection, task_id: int, status: JobStatus, outcome: Outcome) -> None:
    """End the task's live job together with the step it led to; ``outcome`` is for one that never settled."""
    connection.execute(
        text(
            f"""UPDATE jobs SET status = :s, outcome = coalesce(outcome, :o), finished_at = clock_timestamp(),
              counted = (coalesce(outcome, 'stopped') NOT IN ('lost', 'stopped', 'quota', 'rate-limited', 'overloaded'))
            WHERE task_id = :t AND {LIVE_JOB}"""
        ),
        {"t": task_id, "s": status, "o": outcome},
    )


def cancel_queued(connection: Connection, task_id: int) -> int:
    """STOP: queued jobs end at once and are never queued again; how many there were."""
    return connection.execute(
        text(
            """UPDATE jobs SET status = 'cancelled', outcome = 'stopped', finished_at = clock_timestamp()
            WHERE task_id = :t AND status = 'queued'"""
        ),
        {"t": task_id},
    ).rowcount


def count_dead_tick(connection: Connection, job_id: int, *, dead: bool) -> int:
    """One more sweep in a row saw the process dead (or it was seen alive: back to zero); the count now."""
    return int(
        connection.execute(
            text(
                """UPDATE jobs SET dead_ticks = CASE WHEN :d THEN dead_ticks + 1 ELSE 0 END
                WHERE id = :id RETURNING dead_ticks"""
            ),
            {"id": job_id, "d": dead},
        ).scalar_one()
    )


def running_on(connection: Connection, node: str) -> int:
    """How many jobs have, or are about to have, a process on ``node``."""
    return int(
        connection.execute(
            text("SELECT count(*) FROM jobs WHERE node = :n AND status = 'running' AND exited_at IS NULL"), {"n": node}
        ).scalar_one()
    )
