"""Reads only the outside's log and the database's rows, and says which invariants they break.

What rows alone show is judged by the audit that people run; here is what only the log of landings can show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from orchestrator.audit import Breach
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import EffectStatus
from tests.outside.trails import LedgerRow, Trail

Landing = Mapping[str, Any]
Found = Iterator[tuple[str, str]]
METHODS: Final[Mapping[EffectKind, str]] = {
    EffectKind.TRACKER_STATE: "set_state",
    EffectKind.TRACKER_COMMENT: "add_comment",
    EffectKind.NOTIFY: "send",
    EffectKind.OPEN_PR: "open_pull_request",
    EffectKind.MERGE_PR: "merge_pull_request",
    EffectKind.REBUILD_IMAGE: "build",
    EffectKind.START_DEPLOY_STAGING: "launch",
    EffectKind.START_DEPLOY_PRODUCTION: "launch",
    EffectKind.ROLL_BACK_DEPLOY: "launch",
    EffectKind.CLOSE_PR: "close_pull_request",
    EffectKind.DELETE_BRANCH: "delete_branch",
    EffectKind.REMOVE_WORKTREE: "remove",
}
"""The request of each effect. The baseline of coverage has none: its outside is a row of ours."""
_CLEANUP: Final = frozenset({"close_pull_request", "delete_branch", "remove", "set_state", "move_aside"})
_SLACK: Final = timedelta(milliseconds=250)
"""The log's clock and the database's are of one machine; two processes read it at two moments."""


def breaches(trail: Trail, landings: Sequence[Landing], *, faults: int = 0) -> list[Breach]:
    """Every breach that the rows and the log show together. ``faults``: how many struck, for what has no key."""
    found: list[Breach] = []
    for check in (_merges, _deploys, _after_the_stop, _both_agree, _way_back):
        found += [Breach(invariant, trail.work_item, evidence) for invariant, evidence in check(trail, landings)]
    found += [Breach("I8", trail.work_item, evidence) for evidence in _keyless(trail, landings, faults)]
    return found


def landed(landings: Sequence[Landing], kind: str) -> list[Landing]:
    """The landings of one kind, in their order."""
    return [one for one in landings if one["kind"] == kind]


def _at(one: Landing) -> datetime:
    return datetime.fromtimestamp(float(one["at"]), UTC)


def _merges(trail: Trail, landings: Sequence[Landing]) -> Found:
    merges = landed(landings, "merge_pull_request")
    if len(merges) > len({step.seq for step in trail.steps if step.target is Stage.DEPLOY_STAGING}):
        yield "I1", f"{len(merges)} merges landed: {[one['key'][:12] for one in merges]}"
    for one in merges:
        claims = [row for row in _of(trail, EffectKind.MERGE_PR) if row.request.get("candidate") == one["key"]]
        if not claims:
            yield "I14", f"{one['key'][:12]} was merged and nobody claimed it"
        for row in claims:
            yield from _as_decided(trail, row, one)
    for step in trail.steps:
        if step.target is Stage.DEPLOY and not any(_at(one) <= step.at + _SLACK for one in merges):
            yield "I5", f"#{step.seq} entered deploy and no merge had landed"


def _as_decided(trail: Trail, row: LedgerRow, one: Landing) -> Found:
    if row.status is not EffectStatus.CONFIRMED:
        yield "I2", f"{one['key'][:12]} was merged and its claim is {row.status}"
    if one["tree"] != row.request["tree"]:
        yield "I2", f"{one['key'][:12]} landed another tree than the one that was tested"
    if row.request["judged"] not in one["parents"]:
        yield "I2", f"{one['key'][:12]} is not made of the judged head"
    entered = {step.seq: step.at for step in trail.steps}
    left = entered.get(row.visit + 1)
    if left is not None and _at(one) > left + _SLACK:
        yield "I2", f"{one['key'][:12]} landed after visit {row.visit} was left"


def _deploys(trail: Trail, landings: Sequence[Landing]) -> Found:
    for key, count in Counter(one["key"] for one in landed(landings, "deploy")).items():
        if count > 1:
            yield "I6", f"the deploy {key} was run {count} times"
    rows = {str(row.id): row for row in trail.deployments}
    merges = {one["key"] for one in landed(landings, "merge_pull_request")}
    for one in landed(landings, "deploy"):
        environment, number, sha = one["key"].split(":")
        row = rows.get(number)
        if row is not None and environment == "production" and row.kind == "deploy" and sha not in merges:
            yield "I6", f"deploy {number} brought {sha[:12]} to production, which was not merged"
        if row is not None and row.status == "revoked":
            yield "I6", f"deploy {number} ran and its row is revoked"


def _after_the_stop(trail: Trail, landings: Sequence[Landing]) -> Found:
    told = trail.stop_acknowledged_at
    for one in landings if told is not None else ():
        if one["kind"] not in _CLEANUP and told is not None and _at(one) > told + _SLACK:
            keyless = "I11" if one["kind"] == "send" else "I7"
            yield keyless, f"{one['kind']} {one['key']} landed after the STOP was acknowledged"


def _both_agree(trail: Trail, landings: Sequence[Landing]) -> Found:
    for kind, method in METHODS.items():
        rows = _of(trail, kind)
        confirmed = [row for row in rows if row.status is EffectStatus.CONFIRMED and _was_done(row)]
        seen = landed(landings, method)
        if kind is EffectKind.OPEN_PR and not rows:
            continue  # opened by the test's own hand
        if seen and not rows and kind not in _BY_ROW and kind is not EffectKind.NOTIFY:
            yield "I14", f"{method} landed {len(seen)} times and {kind} was never claimed"
        if confirmed and not seen and kind not in _BY_ROW:
            yield "I14", f"{kind} is confirmed and {method} never landed"


_BY_ROW: Final = frozenset(
    {EffectKind.START_DEPLOY_STAGING, EffectKind.START_DEPLOY_PRODUCTION, EffectKind.ROLL_BACK_DEPLOY}
)
"""Effects whose landing is a row; a launch only wakes somebody, and the audit judges the rows."""


def _was_done(row: LedgerRow) -> bool:
    """Whether the row says that something was changed, rather than found to be so, or left out."""
    if row.kind is EffectKind.CLOSE_PR and not row.result.get("closed"):
        return False
    return not {"skipped", "kept", "by_hand"} & set(row.result)


def _way_back(trail: Trail, landings: Sequence[Landing]) -> Found:
    merges = landed(landings, "merge_pull_request")
    for step in trail.steps:
        back = step.target is Stage.DEVELOPMENT and step.source is Stage.DEPLOY_STAGING
        if back and any(_at(one) < step.at - _SLACK for one in merges):
            yield "I3", f"#{step.seq} went back to development after a merge had landed"


def _keyless(trail: Trail, landings: Sequence[Landing], faults: int) -> Iterator[str]:
    # The reaper's alert has no claim: it is one a Tier 3, which is a fault itself.
    told = len([one for one in landed(landings, "send") if not one["key"].endswith("forced reclaim")])
    allowed = sum(row.kind is EffectKind.NOTIFY for row in trail.effects) + faults
    if told > allowed:
        yield f"people were told {told} times, {allowed} are explained"


def _of(trail: Trail, kind: EffectKind) -> list[LedgerRow]:
    return [row for row in trail.effects if row.kind is kind]
