"""Gate results: facts of a round, and passes that may be used again for the same tree and configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, text

from orchestrator.domain.ownership import Committed, HeldLease, LostRace
from orchestrator.domain.views import GateOutcome, GateResult, GateResultView
from orchestrator.store import leases


@dataclass(frozen=True, slots=True)
class Judged:
    """In which round of which visit the gate judged, and how long it took in seconds."""

    visit: int
    round: int
    duration_s: float


def record_if_epoch_holds(
    connection: Connection, held: HeldLease, gate: str, result: GateResult, judged: Judged
) -> Committed | LostRace:
    """Add one result. Lost race: the lease was taken away, so the result is worth nothing."""
    task = leases.lock_if_epoch_holds(connection, held)
    if task is None or (held.enforced and task.stage_seq != judged.visit):
        return LostRace("the epoch or the visit moved on")
    wait_s = result.retry_after_s if result.outcome in (GateOutcome.WAIT, GateOutcome.ERROR) else None
    connection.execute(
        text(
            """INSERT INTO gate_results (task_id, project, visit, round, gate, outcome, evidence, head_sha, base_sha,
              tree_sha, config_digest, reused, epoch, duration_s, figure, not_before)
            VALUES (:task, :project, :visit, :round, :gate, :outcome, :evidence, :head, :base, :tree, :digest,
              :reused, :epoch, :duration, :figure,
              CASE WHEN CAST(:wait AS float) IS NOT NULL THEN clock_timestamp() + make_interval(secs => :wait) END)"""
        ),
        {
            "task": held.task_id,
            "project": task.project,
            "visit": judged.visit,
            "round": judged.round,
            "gate": gate,
            "outcome": result.outcome,
            "evidence": result.evidence,
            "head": result.head_sha,
            "base": result.base_sha,
            "tree": result.tree_sha,
            "digest": result.config_digest,
            "reused": result.reused,
            "epoch": held.epoch,
            "duration": judged.duration_s,
            "figure": result.figure,
            "wait": wait_s,
        },
    )
    return Committed()


def passed_tree(
    connection: Connection, project: str, gate: str, tree_sha: str, config_digest: str
) -> GateResult | None:
    """An earlier pass of the same gate for the same tree under the same configuration: never tested twice."""
    row = connection.execute(
        text(
            """SELECT * FROM gate_results WHERE project = :p AND gate = :g AND tree_sha = :t AND config_digest = :c
              AND outcome = 'pass' ORDER BY id DESC LIMIT 1"""
        ),
        {"p": project, "g": gate, "t": tree_sha, "c": config_digest},
    ).one_or_none()
    return None if row is None else _result(row)


def _result(row: Row[tuple[object, ...]]) -> GateResult:
    return GateResult(
        outcome=GateOutcome(row.outcome),
        evidence=row.evidence,
        head_sha=row.head_sha,
        base_sha=row.base_sha,
        tree_sha=row.tree_sha,
        config_digest=row.config_digest,
        reused=True,
        figure=row.figure,
    )


def of_round(connection: Connection, task_id: int, visit: int, round_: int) -> Sequence[GateResultView]:
    """Results of one round, oldest first."""
    rows = connection.execute(
        text("SELECT * FROM gate_results WHERE task_id = :t AND visit = :v AND round = :r ORDER BY id"),
        {"t": task_id, "v": visit, "r": round_},
    )
    return [
        GateResultView(
            row.gate, GateOutcome(row.outcome), row.evidence, row.head_sha, row.at, row.not_before, row.figure
        )
        for row in rows
    ]
