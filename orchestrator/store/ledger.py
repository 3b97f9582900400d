"""The effect ledger: claim -> look -> act -> read back -> confirm, one row an effect.

The key (task, visit, kind, target) names the work, not the worker, so that a successor finds what a dead owner began.
A claim is committed before anything is sent, and only while the epoch is ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, text

from orchestrator.domain.ownership import Committed, HeldLease, LostRace
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import EffectStatus, EffectView
from orchestrator.store import leases

_COLUMNS = "id, task_id, visit, kind, target, status, epoch, request, result, claimed_at, sends, adoptions"


@dataclass(frozen=True, slots=True)
class EffectKey:
    """What is to be done: in which visit, of which kind, to what."""

    visit: int
    kind: EffectKind
    target: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A ledger row in our hands. ``adopted``: a predecessor wrote it; it may have been sent already."""

    id: int
    key: EffectKey
    status: EffectStatus
    request: Mapping[str, str]
    result: Mapping[str, str]
    adopted: bool


def claim_if_epoch_holds(
    connection: Connection,
    held: HeldLease,
    key: EffectKey,
    request: Mapping[str, str],
    *,
    cleanup: bool = False,
) -> Claim | LostRace:
    """Write the claim, or adopt the row there is; ``request`` of an adopted row stays the predecessor's.

    Permission to start (no STOP, no panic) is asked here only, and only for a new claim; ``cleanup`` effects of
    STOP itself need no permission from STOP. Lost race: the epoch or the visit moved on, or entry is closed.
    """
    task = leases.lock_if_epoch_holds(connection, held)
    if task is None:
        return LostRace("the epoch moved on")
    if held.enforced and task.stage_seq != key.visit:
        return LostRace("the visit moved on")
    found = _find(connection, held.task_id, key)
    if found is not None and found.status in (EffectStatus.CONFIRMED, EffectStatus.REVOKED):
        return _claim(found, key, adopted=True)
    if found is not None and found.status == EffectStatus.CLAIMED:
        return _claim(_adopt(connection, found.id, held), key, adopted=True)
    if task.stop_requested_at is not None and not cleanup:
        return LostRace("a STOP request stands")
    if _panic_stands(connection):
        return LostRace("panic: no new effect may be claimed")
    return _claim(_write(connection, held, key, request), key, adopted=False)


def _find(connection: Connection, task_id: int, key: EffectKey) -> Row[tuple[object, ...]] | None:
    return connection.execute(
        text(
            f"""SELECT {_COLUMNS} FROM effects
            WHERE task_id = :t AND visit = :v AND kind = :k AND target = :g FOR UPDATE"""
        ),
        {"t": task_id, "v": key.visit, "k": key.kind, "g": key.target},
    ).one_or_none()


def _adopt(connection: Connection, effect_id: int, held: HeldLease) -> Row[tuple[object, ...]]:
    return connection.execute(
        text(
            f"""UPDATE effects SET epoch = :e, actor = :a, adoptions = adoptions + 1 WHERE id = :id
            RETURNING {_COLUMNS}"""
        ),
        {"id": effect_id, "e": held.epoch, "a": held.actor},
    ).one()


def _panic_stands(connection: Connection) -> bool:
    return connection.execute(text("SELECT 1 FROM switches WHERE name = 'panic' LIMIT 1")).first() is not None


def _write(
    connection: Connection, held: HeldLease, key: EffectKey, request: Mapping[str, str]
) -> Row[tuple[object, ...]]:
    # A refused row is claimed again in place: the operator's retry is a new start of the same work.
    return connection.execute(
        text(
            f"""INSERT INTO effects (task_id, visit, kind, target, epoch, actor, request)
            VALUES (:t, :v, :k, :g, :e, :a, CAST(:r AS jsonb))
            ON CONFLICT (task_id, visit, kind, target) DO UPDATE
              SET status = 'claimed', settled_at = NULL, epoch = :e, actor = :a, request = CAST(:r AS jsonb)
            RETURNING {_COLUMNS}"""
        ),
        {
            "t": held.task_id,
            "v": key.visit,
            "k": key.kind,
            "g": key.target,
            "e": held.epoch,
            "a": held.actor,
            "r": json.dumps(dict(request)),
        },
    ).one()


def _claim(row: Row[tuple[object, ...]], key: EffectKey, *, adopted: bool) -> Claim:
    return Claim(row.id, key, EffectStatus(row.status), row.request, row.result, adopted)


def mark_sent_if_epoch_holds(connection: Connection, held: HeldLease, claim: Claim) -> Committed | LostRace:
    """The point of no return: committed just before the request leaves, and before every repetition of it."""
    if leases.lock_if_epoch_holds(connection, held) is None:
        return LostRace("the epoch moved on")
    done = connection.execute(
        text(
            """UPDATE effects SET sends = sends + 1, sent_at = clock_timestamp()
            WHERE id = :id AND status = 'claimed'"""
        ),
        {"id": claim.id},
    )
    return Committed() if done.rowcount else LostRace("the claim was settled by somebody else")


def confirm_if_epoch_holds(
    connection: Connection, held: HeldLease, claim: Claim, result: Mapping[str, str]
) -> Committed | LostRace:
    """The effect was seen outside. Confirming a confirmed row is harmless."""
    return _settle(connection, held, claim.id, EffectStatus.CONFIRMED, result)


def refuse_if_epoch_holds(
    connection: Connection, held: HeldLease, claim: Claim, result: Mapping[str, str]
) -> Committed | LostRace:
    """The target refused it for good and a current read shows that nothing landed."""
    return _settle(connection, held, claim.id, EffectStatus.REFUSED, result)


def revoke_if_epoch_holds(
    connection: Connection, held: HeldLease, effect_id: int, result: Mapping[str, str]
) -> Committed | LostRace:
    """The effect was made impossible at its target, and a read after that shows that it had not landed."""
    return _settle(connection, held, effect_id, EffectStatus.REVOKED, result)


def _settle(
    connection: Connection, held: HeldLease, effect_id: int, status: EffectStatus, result: Mapping[str, str]
) -> Committed | LostRace:
    if leases.lock_if_epoch_holds(connection, held) is None:
        return LostRace("the epoch moved on")
    done = connection.execute(
        text(
            """UPDATE effects SET status = :s, result = CAST(:r AS jsonb), settled_at = clock_timestamp(), epoch = :e
            WHERE id = :id AND task_id = :t AND status IN ('claimed', :s)"""
        ),
        {"id": effect_id, "t": held.task_id, "s": status, "r": json.dumps(dict(result)), "e": held.epoch},
    )
    return Committed() if done.rowcount else LostRace("the claim was settled another way")


def effects_of(connection: Connection, task_id: int) -> Sequence[EffectView]:
    """The whole ledger of a task, oldest first."""
    rows = connection.execute(text(f"SELECT {_COLUMNS} FROM effects WHERE task_id = :t ORDER BY id"), {"t": task_id})
    return [
        EffectView(
            id=row.id,
            kind=EffectKind(row.kind),
            target=row.target,
            visit=row.visit,
            status=EffectStatus(row.status),
            epoch=row.epoch,
            request=row.request,
            result=row.result,
            claimed_at=row.claimed_at,
        )
        for row in rows
    ]
