"""Cards that a person moved while a task is live: seen, and answered, as events of the task."""

from __future__ import annotations

from sqlalchemy import Connection, text

from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import CardMove, EffectStatus
from orchestrator.domain.work_items import TrackerState
from orchestrator.store import events

_MOVED, _ANSWERED = "card.moved", "card.answered"


def note_if_moved(connection: Connection, task_id: int, seen: TrackerState, *, relaunched: bool) -> bool:
    """Write down that the card stands at ``seen`` though the task's own last write put it elsewhere; False when it
    stands right, when that write is still under way, or when an earlier move was not answered yet."""
    last = connection.execute(
        text(
            """SELECT status, request->>'state' AS state FROM effects
            WHERE task_id = :t AND kind = :k AND status IN ('claimed', 'confirmed')
            ORDER BY status = 'confirmed' AND request->>'state' IN ('done', 'cancelled') DESC, id DESC LIMIT 1"""
        ),
        {"t": task_id, "k": EffectKind.TRACKER_STATE},
    ).one_or_none()
    if last is None or last.status != EffectStatus.CONFIRMED or last.state == seen:
        return False
    if unanswered(connection, task_id) is not None:
        return False
    events.record(connection, task_id, _MOVED, {"from": last.state, "to": str(seen), "relaunched": relaunched})
    return True


def unanswered(connection: Connection, task_id: int) -> CardMove | None:
    """The newest move that nobody answered."""
    row = connection.execute(
        text(
            """SELECT id, kind, detail FROM events WHERE task_id = :t AND kind IN (:moved, :answered)
            ORDER BY id DESC LIMIT 1"""
        ),
        {"t": task_id, "moved": _MOVED, "answered": _ANSWERED},
    ).one_or_none()
    if row is None or row.kind == _ANSWERED:
        return None
    return CardMove(row.id, TrackerState(row.detail["to"]), bool(row.detail.get("relaunched")))


def answered(connection: Connection, task_id: int, move: CardMove, how: str) -> None:
    """The move was dealt with: ``how`` says whether the card was put back or stood right by itself."""
    events.record(connection, task_id, _ANSWERED, {"move": move.id, "how": how})
