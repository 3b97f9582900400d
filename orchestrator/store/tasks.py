"""Task rows: their start, the facts written on them, requests of people, parking. Never the stage after the start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from orchestrator.domain.ownership import Committed, HeldLease, LostRace
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import JobStatus, Outcome
from orchestrator.store import jobs, leases
from orchestrator.store.schema import LIVE_STAGE


@dataclass(frozen=True, slots=True)
class NewTask:
    """What a work item starts its passage with."""

    work_item: str
    project: str
    title: str
    body: str
    author: str
    priority: int
    blocked_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskRef:
    """Just enough of a task to find it and to nudge it."""

    id: int
    work_item: str
    project: str
    stage: Stage
    stage_seq: int


_REF = "id, work_item, project, stage, stage_seq"


def start(connection: Connection, new: NewTask) -> TaskRef | LostRace:
    """Begin a passage in ``analysis`` with its first job. Lost race: the work item has a live task already,
    or its cancelled one was not acknowledged yet (the tracker still shows the state from before the STOP)."""
    row = connection.execute(
        text(
            f"""INSERT INTO tasks (work_item, project, title, body, author, priority, blocked_by, branch, generation)
            SELECT :work_item, :project, :title, :body, :author, :priority, :blocked_by,
              'orch/' || :work_item || CASE WHEN n = 0 THEN '' ELSE '-' || (n + 1)::text END, n
            FROM (SELECT coalesce(sum(1 + generation), 0)::int AS n FROM tasks WHERE work_item = :work_item) earlier
            WHERE NOT EXISTS (SELECT FROM tasks WHERE work_item = :work_item AND stage = 'cancelled'
              AND stop_acknowledged_at IS NULL)
            ON CONFLICT (work_item) WHERE {LIVE_STAGE} DO NOTHING RETURNING {_REF}"""
        ),
        {
            "work_item": new.work_item,
            "project": new.project,
            "title": new.title,
            "body": new.body,
            "author": new.author,
            "priority": new.priority,
            "blocked_by": list(new.blocked_by),
        },
    ).one_or_none()
    if row is None:
        return LostRace(f"{new.work_item} has a live task")
    jobs.queue(connection, row.id, Stage.ANALYSIS, 0, 0, "")
    return _ref(row._mapping)


def _ref(row: object) -> TaskRef:
    values = dict(row)  # type: ignore[call-overload]  # a RowMapping
    return TaskRef(**{**values, "stage": Stage(values["stage"])})


def find(connection: Connection, work_item: str) -> TaskRef | None:
    """The live task of a work item, else its newest one, else None."""
    row = connection.execute(
        text(f"SELECT {_REF} FROM tasks WHERE work_item = :w ORDER BY ({LIVE_STAGE}) DESC, id DESC LIMIT 1"),
        {"w": work_item},
    ).one_or_none()
    return None if row is None else _ref(row._mapping)


def get(connection: Connection, task_id: int) -> TaskRef | None:
    row = connection.execute(text(f"SELECT {_REF} FROM tasks WHERE id = :t"), {"t": task_id}).one_or_none()
    return None if row is None else _ref(row._mapping)


def live(connection: Connection, limit: int = 1000) -> Sequence[TaskRef]:
    """Live tasks, by priority, then oldest first."""
    rows = connection.execute(
        text(f"SELECT {_REF} FROM tasks WHERE {LIVE_STAGE} ORDER BY priority DESC, created_at LIMIT :n"), {"n": limit}
    )
    return [_ref(row._mapping) for row in rows]


def live_with(
    connection: Connection,
    project: str,
    *,
    branches: Sequence[str] = (),
    pull_requests: Sequence[int] = (),
    heads: Sequence[str] = (),
) -> Sequence[TaskRef]:
    """Live tasks of the project that work on one of these."""
    rows = connection.execute(
        text(
            f"""SELECT {_REF} FROM tasks WHERE {LIVE_STAGE} AND project = :p AND (branch = ANY(:branches)
              OR pull_request = ANY(CAST(:numbers AS bigint[])) OR head_sha = ANY(:heads) OR merged_sha = ANY(:heads))
            ORDER BY id"""
        ),
        {"p": project, "branches": list(branches), "numbers": list(pull_requests), "heads": list(heads)},
    )
    return [_ref(row._mapping) for row in rows]


def due(connection: Connection, limit: int) -> Sequence[TaskRef]:
    """Tasks that somebody may have to move, those looked at longest ago first: live ones, and cancelled ones whose
    STOP was not acknowledged yet."""
    rows = connection.execute(
        text(
            f"""SELECT {_REF} FROM tasks
            WHERE {LIVE_STAGE}
              OR (stage = 'cancelled' AND stop_acknowledged_at IS NULL AND stop_requested_at IS NOT NULL)
            ORDER BY reasons_at NULLS FIRST, id LIMIT :n"""
        ),
        {"n": limit},
    )
    return [_ref(row._mapping) for row in rows]


def update_item_facts(
    connection: Connection, task_id: int, *, title: str, body: str, priority: int, blocked_by: Sequence[str]
) -> bool:
    """Write down what the tracker says now; True when something changed that a decision may rest on."""
    done = connection.execute(
        text(
            f"""UPDATE tasks SET title = :title, body = :body, priority = :priority, blocked_by = :blocked_by,
              facts_at = clock_timestamp()
            WHERE id = :t AND {LIVE_STAGE} AND (title, body, priority, blocked_by)
              IS DISTINCT FROM (:title, :body, :priority, CAST(:blocked_by AS text[]))"""
        ),
        {"t": task_id, "title": title, "body": body, "priority": priority, "blocked_by": list(blocked_by)},
    )
    return bool(done.rowcount)


def touch_facts(connection: Connection, task_id: int) -> None:
    """Something outside changed: what a gate said to wait for is to be looked at again."""
    connection.execute(text("UPDATE tasks SET facts_at = clock_timestamp() WHERE id = :t"), {"t": task_id})


def request_stop(connection: Connection, task_id: int, by: str) -> Committed | LostRace:
    """Write the durable STOP request and end queued jobs. Lost race: terminal, or requested already."""
    task = leases.lock_task(connection, task_id)
    done = connection.execute(
        text(
            f"""UPDATE tasks SET stop_requested_by = :by, stop_requested_at = clock_timestamp(),
              facts_at = clock_timestamp() WHERE id = :t AND {LIVE_STAGE} AND stop_requested_at IS NULL"""
        ),
        {"t": task_id, "by": by},
    )
    if not done.rowcount:
        terminal = Stage(task.stage) in (Stage.DONE, Stage.CANCELLED)
        return LostRace(f"the task is {task.stage} already" if terminal else "a STOP was requested already")
    jobs.cancel_queued(connection, task_id)
    return Committed()


def withdraw_stop(connection: Connection, task_id: int) -> None:
    """The STOP came too late: a production deploy had begun. The request is taken back; history keeps it."""
    connection.execute(
        text(
            """UPDATE tasks SET stop_requested_by = NULL, stop_requested_at = NULL, facts_at = clock_timestamp()
            WHERE id = :t"""
        ),
        {"t": task_id},
    )


def acknowledge_stop(connection: Connection, task_id: int) -> None:
    """People were told that the task is cancelled; from here on nothing of it lands outside."""
    connection.execute(
        text(
            """UPDATE tasks SET stop_acknowledged_at = clock_timestamp()
            WHERE id = :t AND stage = 'cancelled' AND stop_acknowledged_at IS NULL"""
        ),
        {"t": task_id},
    )


def branches_in_use(connection: Connection, project: str, branches: Sequence[str]) -> frozenset[str]:
    """Those of ``branches`` on which a live task of the project works, or one whose STOP was not acknowledged yet."""
    rows = connection.execute(
        text(
            f"""SELECT branch FROM tasks WHERE project = :p AND branch = ANY(:b)
            AND ({LIVE_STAGE} OR stop_requested_at IS NOT NULL AND stop_acknowledged_at IS NULL)"""
        ),
        {"p": project, "b": list(branches)},
    )
    return frozenset(rows.scalars())


def stop_proof(connection: Connection, task_id: int) -> list[str]:
    """What STOP saw and did, a line each: processes seen dead, effects withdrawn or done, what was kept."""
    rows = connection.execute(
        text(
            """SELECT kind, detail FROM events WHERE task_id = :t AND id >= coalesce(
              (SELECT max(id) FROM events WHERE task_id = :t AND kind = 'stop.requested'), 0) ORDER BY id"""
        ),
        {"t": task_id},
    )
    return [line for row in rows for line in _proof_lines(row.kind, row.detail)]


def stop_was_requested(connection: Connection, task_id: int) -> bool:
    """Whether a STOP of the task was asked for, whatever came of it."""
    asked = text("SELECT stop_requested_at IS NOT NULL FROM tasks WHERE id = :t")
    return bool(connection.execute(asked, {"t": task_id}).scalar_one_or_none())


def _proof_lines(kind: str, detail: dict[str, object]) -> list[str]:
    if kind == "stop.killed":
        proof = detail.get("proof")
        return [str(line) for line in proof] if isinstance(proof, list) else []
    if kind == "stop.refused":
        return [f"refused: {detail.get('what')}: {detail.get('why')}"]
    if kind == "verdict.ignored":
        return [f"its agent's verdict ({detail.get('verdict')}) came too late and was ignored"]
    if kind in ("effect.revoked", "effect.confirmed", "stop.kept"):
        return [f"{kind.replace('.', ' ')}: {detail.get('kind')} {detail.get('target', detail.get('why', ''))}"]
    return []


def record_pull_request_if_epoch_holds(connection: Connection, held: HeldLease, number: int) -> Committed | LostRace:
    """The pull request of the task's branch is known."""
    if leases.lock_if_epoch_holds(connection, held) is None:
        return LostRace("the epoch moved on")
    connection.execute(text("UPDATE tasks SET pull_request = :n WHERE id = :t"), {"t": held.task_id, "n": number})
    return Committed()


def record_merge(connection: Connection, task_id: int, merged_sha: str, *, by_hand: bool = False) -> None:
    """The pull request of this task was seen merged: a fact, whoever did it."""
    connection.execute(
        text(
            """UPDATE tasks SET merged_sha = :s, merged_by_hand = merged_by_hand OR :h, facts_at = clock_timestamp()
            WHERE id = :t AND merged_sha IS DISTINCT FROM :s"""
        ),
        {"t": task_id, "s": merged_sha, "h": by_hand},
    )


def set_worktree_node(connection: Connection, task_id: int, node: str | None) -> None:
    """Which node has the task's worktree: its later runs go there."""
    connection.execute(text("UPDATE tasks SET worktree_node = :n WHERE id = :t"), {"t": task_id, "n": node})


def worktree_node(connection: Connection, task_id: int) -> str | None:
    found = connection.execute(text("SELECT worktree_node FROM tasks WHERE id = :t"), {"t": task_id}).scalar_one()
    return None if found is None else str(found)


def words(connection: Connection, task_id: int) -> tuple[str, str]:
    """Title and body of the work item as last read from the tracker: untrusted text."""
    row = connection.execute(text("SELECT title, body FROM tasks WHERE id = :t"), {"t": task_id}).one()
    return row.title, row.body


def delay(connection: Connection, task_id: int, seconds: float) -> None:
    """Start nothing for this task before so many seconds have passed."""
    connection.execute(
        text("UPDATE tasks SET retry_not_before = clock_timestamp() + make_interval(secs => :s) WHERE id = :t"),
        {"t": task_id, "s": seconds},
    )


@dataclass(frozen=True, slots=True)
class SameStage:
    """A step inside a visit, guarded like a stage commit: what it was decided on."""

    stage: Stage
    seq: int


def park_if_epoch_holds(connection: Connection, held: HeldLease, at: SameStage, reason: str) -> Committed | LostRace:
    """Stop moving with a reason until a person or a fact changes that. Ends the live job and the lease with it."""
    done = connection.execute(
        text(
            f"""UPDATE tasks SET parked_reason = :r, parked_at = clock_timestamp()
            WHERE id = :t AND parked_at IS NULL AND {_fences(held)}"""
        ),
        {"r": reason, **_fence_values(held, at)},
    )
    if not done.rowcount:
        return LostRace("the task moved on before it could be parked")
    jobs.end_live_job(connection, held.task_id, JobStatus.FINISHED, Outcome.STOPPED)
    leases.release(connection, held)
    return Committed()


def start_round_if_epoch_holds(
    connection: Connection, held: HeldLease, at: SameStage, evidence: str, not_before_s: float = 0.0
) -> Committed | LostRace:
    """Do the stage again in the same visit: the old job ends, the next round's job is queued, the lease released."""
    row = connection.execute(
        text(
            f"""UPDATE tasks SET round = round + 1, facts_at = clock_timestamp(),
              retry_not_before = CASE WHEN :s > 0 THEN clock_timestamp() + make_interval(secs => :s) END
            WHERE id = :t AND {_fences(held)} RETURNING round"""
        ),
        {"s": not_before_s, **_fence_values(held, at)},
    ).one_or_none()
    if row is None:
        return LostRace("the task moved on before its stage could be done again")
    jobs.end_live_job(connection, held.task_id, JobStatus.FINISHED, Outcome.STOPPED)
    jobs.queue(connection, held.task_id, at.stage, at.seq, row.round, evidence)
    leases.release(connection, held)
    return Committed()


def _fences(held: HeldLease) -> str:
    fences = "stage = :stage AND stage_seq = :seq"
    return f"{fences} AND lease_epoch = :epoch" if held.enforced else fences


def _fence_values(held: HeldLease, at: SameStage) -> dict[str, object]:
    return {"t": held.task_id, "stage": at.stage, "seq": at.seq, "epoch": held.epoch}


def retry(connection: Connection, task_id: int, *, with_agent: bool) -> Committed | LostRace:
    """The operator's retry: unpark into a new round whose facts start empty. ``with_agent`` queues a job for it.

    Lost race: not parked (any more).
    """
    task = leases.lock_task(connection, task_id)
    row = connection.execute(
        text(
            f"""UPDATE tasks SET parked_reason = NULL, parked_at = NULL, round = round + 1, retry_not_before = NULL,
              rejected_by = NULL, rejected_why = NULL, facts_at = clock_timestamp()
            WHERE id = :t AND parked_at IS NOT NULL AND {LIVE_STAGE} RETURNING round"""
        ),
        {"t": task_id},
    ).one_or_none()
    if row is None:
        return LostRace("the task is not parked")
    if with_agent:
        jobs.queue(connection, task_id, Stage(task.stage), task.stage_seq, row.round, "")
    return Committed()


def approve(connection: Connection, task_id: int, by: str) -> Committed | LostRace:
    """A person lets the task go to production. Lost race: not live, or approved already."""
    done = connection.execute(
        text(
            f"""UPDATE tasks SET approved_by = :by, approved_at = clock_timestamp(), rejected_by = NULL,
              rejected_why = NULL, facts_at = clock_timestamp()
            WHERE id = :t AND {LIVE_STAGE} AND approved_at IS NULL"""
        ),
        {"t": task_id, "by": by},
    )
    return Committed() if done.rowcount else LostRace("the task is terminal or approved already")


def reject(connection: Connection, task_id: int, by: str, why: str) -> Committed | LostRace:
    """A person sends the task back instead. Lost race: not live."""
    done = connection.execute(
        text(
            f"""UPDATE tasks SET rejected_by = :by, rejected_why = :why, approved_by = NULL, approved_at = NULL,
              facts_at = clock_timestamp() WHERE id = :t AND {LIVE_STAGE}"""
        ),
        {"t": task_id, "by": by, "why": why},
    )
    return Committed() if done.rowcount else LostRace("the task is terminal")


def store_reasons(connection: Connection, task_id: int, reasons: Sequence[str], until: datetime | None) -> None:
    """Keep all reasons of the last decision, so that «why is it not moving?» has one answer everywhere."""
    connection.execute(
        text(
            """UPDATE tasks SET reasons = CAST(:r AS jsonb), reasons_at = clock_timestamp(), reasons_until = :u
            WHERE id = :t"""
        ),
        {"t": task_id, "r": json.dumps(list(reasons)), "u": until},
    )
