"""Raise the coverage that the base branch must not fall below, once and only upwards."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind
from orchestrator.effects.contract import Absent, EffectContext, Landed, Seen
from orchestrator.store import coverage

_GATE: Final = "check_coverage"
_DIGITS: Final = Decimal("0.000001")


class RatchetCoverage:
    """The figure is what the gate measured in this visit; the row of the baseline is the outside."""

    kind: EffectKind = EffectKind.RATCHET_COVERAGE
    keyless: bool = False

    def target(self, context: EffectContext) -> str:
        return f"{context.view.project}/{context.ports.config.base_branch}"

    def request(self, context: EffectContext) -> Mapping[str, str]:
        """``line_rate`` is empty when nothing was measured. Raises PermanentError for one that is no share."""
        return {
            "base_branch": context.ports.config.base_branch,
            "line_rate": _line_rate(context),
            "sha": context.view.merged_sha or (context.candidate.commit_sha if context.candidate else ""),
        }

    def look(self, context: EffectContext) -> Seen:
        if not context.request["line_rate"]:
            return Landed({"skipped": "nothing was measured"})
        found = _baseline(context)
        if found is not None and found.line_rate >= Decimal(context.request["line_rate"]):
            return Landed({"line_rate": str(found.line_rate), "sha": found.sha})
        return Absent()

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        """By the old value: who raised it between our read and our write is not overwritten."""
        found, request = _baseline(context), context.request
        rise = coverage.Rise(
            project=context.view.project,
            base_branch=request["base_branch"],
            old=None if found is None else found.line_rate,
            new=Decimal(request["line_rate"]),
            sha=request["sha"],
        )
        with context.store.transaction(lease.actor) as connection:
            coverage.raise_baseline_if_unchanged(connection, lease, rise)

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Nothing to do: the write carries the epoch, so one of a predecessor cannot land any more."""


def _line_rate(context: EffectContext) -> str:
    """The newest figure of this visit, rounded down, so that the same tree measured again is not below it."""
    measured = [one.figure for one in context.view.gate_results if one.gate == _GATE and one.figure is not None]
    if not measured:
        return ""
    if not 0.0 <= measured[-1] <= 1.0:
        raise PermanentError(f"{_GATE} measured a line rate of {measured[-1]}, which is no share")
    return str(Decimal(repr(measured[-1])).quantize(_DIGITS, ROUND_FLOOR))


def _baseline(context: EffectContext) -> coverage.Reached | None:
    with context.store.transaction() as connection:
        return coverage.reached(connection, context.view.project, context.request["base_branch"])
