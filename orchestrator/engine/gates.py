"""Runs the gates of an edge and records what each said. A pass for the same tree and configuration is used again."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.domain.configuration import RepositoryConfig
from orchestrator.domain.errors import LostRaceError, OrchestratorError
from orchestrator.domain.ownership import LostRace
from orchestrator.domain.views import GateOutcome, GateResult, TaskView
from orchestrator.engine.region import Region
from orchestrator.failpoints import hit
from orchestrator.gates import FINGERPRINTS, QG_CHECKS
from orchestrator.gates.context import GateContext
from orchestrator.logs import masked
from orchestrator.ports import MergeCandidate, MergeConflict
from orchestrator.store import gate_results, leases

_log = logging.getLogger(__name__)
EVIDENCE_LIMIT: Final = 8_000
_LONGEST_BACKOFF_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What the gates of one pass judge. ``candidate`` is the merge result in the lane; ``conflict``: there is none."""

    repository: RepositoryConfig
    base_sha: str
    candidate: MergeCandidate | None = None
    conflict: MergeConflict | None = None


def all_pass(region: Region, view: TaskView, gates: tuple[str, ...], bench: Bench) -> bool:
    """Run ``gates`` in order until one does not pass; every result is recorded under the lease.

    Raises LostRaceError when the lease was taken away: what was judged is worth nothing then.
    """
    for gate in gates:
        result = _judged(region, view, gate, bench)
        if result.outcome is not GateOutcome.PASS:
            _log.info("%s of %s: %s: %s", gate, view.work_item, result.outcome, result.evidence[:200])
            return False
        view = region.view()
    return True


def _judged(region: Region, view: TaskView, gate: str, bench: Bench) -> GateResult:
    context = GateContext(
        view=view,
        ports=region.ports,
        repository=bench.repository,
        base_sha=bench.base_sha,
        candidate=bench.candidate,
        conflict=bench.conflict,
        children=region.children,
        store=region.engine.store,
    )
    hit(f"gate.{gate}.before")
    began = time.monotonic()
    result = _earlier_pass(region, gate, context) or _checked(gate, context, view)
    hit(f"gate.{gate}.after")
    record(region, view, gate, result, time.monotonic() - began)
    return result


def _earlier_pass(region: Region, gate: str, context: GateContext) -> GateResult | None:
    fingerprint = FINGERPRINTS.get(gate)
    found = None if fingerprint is None else fingerprint(context)
    if found is None:
        return None
    with region.engine.store.transaction() as connection:
        return gate_results.passed_tree(connection, context.view.project, gate, *found)


def _checked(gate: str, context: GateContext, view: TaskView) -> GateResult:
    try:
        return QG_CHECKS[gate](context)
    except LostRaceError:
        raise
    except OrchestratorError as error:
        return could_not_run(view, gate, str(error))


def could_not_run(view: TaskView, name: str, evidence: str) -> GateResult:
    """An error is no fail: it is tried again after a delay that doubles, and parks after too many in one round."""
    errors = sum(one.gate == name and one.outcome is GateOutcome.ERROR for one in view.gate_results)
    return GateResult(
        GateOutcome.ERROR, evidence, head_sha=view.head_sha, retry_after_s=min(2.0**errors, _LONGEST_BACKOFF_S)
    )


def record(region: Region, view: TaskView, name: str, result: GateResult, duration_s: float = 0.0) -> None:
    """Write one result as a fact of this visit and round. Raises LostRaceError when the lease is gone."""
    capped = replace(result, evidence=masked(result.evidence)[-EVIDENCE_LIMIT:])
    judged = gate_results.Judged(view.visit, view.round, duration_s)
    with region.engine.store.transaction(region.held.actor) as connection:
        if not leases.holds(connection, region.held):
            raise LostRaceError("the lease was taken away while a gate ran")
        outcome = gate_results.record_if_epoch_holds(connection, region.held, name, capped, judged)
    if isinstance(outcome, LostRace):
        raise LostRaceError(outcome.why)
