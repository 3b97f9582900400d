"""Runs effects through the ledger: claim -> look -> act -> read back -> confirm. The only caller of an ``act``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, assert_never

from orchestrator.domain.configuration import RepositoryConfig
from orchestrator.domain.errors import LostRaceError, OrchestratorError, TransientError
from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.domain.stages import Edge, EffectKind
from orchestrator.domain.views import EffectStatus, EffectView, TaskView
from orchestrator.effects import EFFECTS
from orchestrator.effects.contract import Absent, Effect, EffectContext, Impossible, Landed, Seen, Then
from orchestrator.engine.region import Region
from orchestrator.failpoints import hit
from orchestrator.ports import MergeCandidate
from orchestrator.store import leases, ledger, tasks
from orchestrator.store.ledger import Claim, EffectKey

_log = logging.getLogger(__name__)
_ACTS: Final = 3
"""How often one pass repeats a request whose outcome cannot be seen; then the task waits with backoff."""
_PAUSE_S: Final = 0.3


class EffectRefused(OrchestratorError):  # noqa: N818  # a word of the ledger, not a fault of ours
    """The effect did not happen and cannot happen as decided; its row is settled. ``then`` says what follows."""

    def __init__(self, kind: EffectKind, why: str, then: Then) -> None:
        super().__init__(why)
        self.kind, self.then = kind, then


@dataclass(frozen=True, slots=True)
class Scene:
    """What all effects of one step share. ``cleanup``: STOP's own effects, which no STOP may forbid."""

    view: TaskView
    repository: RepositoryConfig
    base_sha: str
    edge: Edge | None = None
    candidate: MergeCandidate | None = None
    note: str = ""
    occasion: str = ""
    cleanup: bool = False


def run(region: Region, scene: Scene, kind: EffectKind) -> Mapping[str, str]:
    """Do one effect, or find it done; what was seen.

    Raises LostRaceError (lease, visit or permission is gone: leave), EffectRefused, and TransientError when the
    outside cannot be read.
    """
    effect, context = EFFECTS[kind], _context(region, scene)
    key = EffectKey(scene.view.visit, kind, effect.target(context))
    claim = _claim(region, key, effect.request(context), cleanup=scene.cleanup)
    if claim.status is EffectStatus.CONFIRMED:
        return claim.result
    if claim.status is EffectStatus.REVOKED:
        raise EffectRefused(kind, f"{kind} was withdrawn in this visit: the only way is back", Then.GO_BACK)
    return _bring_about(region, effect, replace(context, request=claim.request), claim)


def _context(region: Region, scene: Scene) -> EffectContext:
    return EffectContext(
        view=scene.view,
        ports=region.ports,
        repository=scene.repository,
        notifiers=region.engine.notifiers,
        edge=scene.edge,
        base_sha=scene.base_sha,
        candidate=scene.candidate,
        children=region.children,
        store=region.engine.store,
        note=scene.note,
        occasion=scene.occasion,
    )


def _claim(region: Region, key: EffectKey, request: Mapping[str, str], *, cleanup: bool) -> Claim:
    with region.engine.store.transaction(region.held.actor) as connection:
        claim = ledger.claim_if_epoch_holds(connection, region.held, key, request, cleanup=cleanup)
    if isinstance(claim, LostRace):
        raise LostRaceError(claim.why)
    hit(f"effect.{key.kind}.claimed")
    return claim


def _bring_about(region: Region, effect: Effect, context: EffectContext, claim: Claim) -> Mapping[str, str]:
    seen = effect.look(context)
    hit(f"effect.{effect.kind}.looked")
    for attempt in range(_ACTS):
        if not isinstance(seen, Absent):
            break
        if attempt:
            region.engine.clock.sleep(_PAUSE_S * 2**attempt)
        seen = _act(region, effect, context, claim)
    if isinstance(seen, Landed) and seen.unsettled:
        seen = _mend_record(region, effect, context, claim, seen)
    return _settle(region, effect, claim, seen)


def _mend_record(region: Region, effect: Effect, context: EffectContext, claim: Claim, landed: Landed) -> Seen:
    """It is done, and the target's record does not say so: have it mended; done stays done when that fails."""
    seen = _act(region, effect, context, claim)
    return seen if isinstance(seen, Landed) else landed


def _act(region: Region, effect: Effect, context: EffectContext, claim: Claim) -> Seen:
    """One request, and what a read shows after it: the answer itself says nothing, whatever it was."""
    with region.engine.store.transaction(region.held.actor) as connection:
        _must(ledger.mark_sent_if_epoch_holds(connection, region.held, claim))
    hit(f"effect.{effect.kind}.sent")
    try:
        effect.act(context, region.held)  # the point of no return
    except LostRaceError as error:
        _log.info("%s: %s; looking again", effect.kind, error)
    except OrchestratorError as error:
        if effect.keyless:
            raise
        _log.warning("%s was not answered well (%s); looking again", effect.kind, error)
        hit(f"effect.{effect.kind}.answered")
        seen = effect.look(context)
        if isinstance(seen, Absent) and not isinstance(error, TransientError):
            raise
        return seen
    hit(f"effect.{effect.kind}.answered")
    return Landed({}) if effect.keyless else effect.look(context)


def _settle(region: Region, effect: Effect, claim: Claim, seen: Seen) -> Mapping[str, str]:
    match seen:
        case Landed(result):
            _confirm(region, effect.kind, claim, result)
            return result
        case Impossible(why, then):
            with region.engine.store.transaction(region.held.actor) as connection:
                _must(ledger.refuse_if_epoch_holds(connection, region.held, claim, {"why": why}))
            raise EffectRefused(effect.kind, why, then)
        case Absent():
            raise TransientError(f"{effect.kind} was asked for {_ACTS} times and cannot be seen done")
        case _:
            assert_never(seen)


def _confirm(region: Region, kind: EffectKind, claim: Claim, result: Mapping[str, str]) -> None:
    held = region.held
    with region.engine.store.transaction(held.actor) as connection:
        _must(ledger.confirm_if_epoch_holds(connection, held, claim, result))
        if kind is EffectKind.OPEN_PR and "number" in result:
            _must(tasks.record_pull_request_if_epoch_holds(connection, held, int(result["number"])))
        if kind is EffectKind.MERGE_PR and "merge_sha" in result:
            by_hand = result.get("by_hand") == "yes"
            tasks.record_merge(connection, held.task_id, result["merge_sha"], by_hand=by_hand)
    hit(f"effect.{kind}.confirmed")


def _must(outcome: Committed | LostRace) -> None:
    if isinstance(outcome, LostRace):
        raise LostRaceError(outcome.why)


def has_claims_to_settle(view: TaskView) -> bool:
    """Whether a claim is open whose outcome a look at the outside may tell."""
    return any(not EFFECTS[row.kind].keyless for row in view.open_claims())


def settle_open_claims(region: Region, scene: Scene) -> bool:
    """Look at every claim that a dead predecessor (or an answer that never came) left open: landed is confirmed,
    impossible is refused, absent stays open for whoever goes on. True when a row changed."""
    changed = False
    for row in scene.view.open_claims():
        effect = EFFECTS[row.kind]
        if effect.keyless:
            continue
        seen = effect.look(_context_of(region, scene, row))
        if not isinstance(seen, Absent):
            _settle_row(region, effect, row, seen)
            changed = True
    return changed


def _settle_row(region: Region, effect: Effect, row: EffectView, seen: Seen) -> None:
    try:
        _settle(region, effect, _adopted(row), seen)
    except EffectRefused as refusal:
        _log.info("%s of task %s: %s", row.kind, region.held.task_id, refusal.message)


def withdraw_open_claims(
    region: Region, scene: Scene, going_on: Sequence[EffectKind] = ()
) -> Mapping[EffectKind, Landed]:
    """Revocation before going back or cancelling: make every open claim impossible at its target, then read back.

    What had landed after all is confirmed and returned: then nobody goes back, the task goes forward with it.
    ``going_on``: what the way itself does. A predecessor that died on that way may have claimed it: taken back, it
    could not be claimed again in this visit, and what it was to mend or to delete would stay.
    """
    landed: dict[EffectKind, Landed] = {}
    for row in scene.view.open_claims():
        if row.kind in going_on:
            continue
        effect, context = EFFECTS[row.kind], _context_of(region, scene, row)
        if not effect.keyless:
            _revoke(region, effect, context)
        seen = Absent() if effect.keyless else effect.look(context)
        if isinstance(seen, Landed):
            _confirm(region, effect.kind, _adopted(row), seen.result)
            landed[row.kind] = seen
        else:
            with region.engine.store.transaction(region.held.actor) as connection:
                _must(ledger.revoke_if_epoch_holds(connection, region.held, row.id, {"seen": _words(seen)}))
    return landed


def _revoke(region: Region, effect: Effect, context: EffectContext) -> None:
    with region.engine.store.transaction(region.held.actor) as connection:
        held = leases.holds(connection, region.held)
    if not held:
        raise LostRaceError("the lease was taken away before a withdrawal")
    effect.revoke(context, region.held)


def _words(seen: Seen) -> str:
    return seen.why if isinstance(seen, Impossible) else "not landed"


def _adopted(row: EffectView) -> Claim:
    return Claim(row.id, EffectKey(row.visit, row.kind, row.target), row.status, row.request, row.result, adopted=True)


def _context_of(region: Region, scene: Scene, row: EffectView) -> EffectContext:
    return replace(_context(region, scene), request=row.request)
