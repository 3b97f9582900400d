"""One step towards production: gates, then effects, then the stage commit."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from orchestrator.domain.decide import REFUSED, Advance
from orchestrator.domain.errors import ConfigurationError, LostRaceError, OrchestratorError
from orchestrator.domain.ownership import Busy, Committed, LostRace
from orchestrator.domain.stages import AFTER_MERGE, Edge, EffectKind, Stage
from orchestrator.domain.views import GateOutcome, GateResult, TaskView
from orchestrator.effects.contract import Then
from orchestrator.engine import effects, gates, lane
from orchestrator.engine.effects import EffectRefused, Scene
from orchestrator.engine.facts import adopt_merge_by_hand
from orchestrator.engine.gates import Bench
from orchestrator.engine.region import Region
from orchestrator.failpoints import hit
from orchestrator.ports import MergeConflict
from orchestrator.store import stage_commits, switches
from orchestrator.store.stage_commits import NextJob, StageCommit

_LANE_BUSY_S = 1.0
_LANE_CLOSED_S = 30.0


class Step(StrEnum):
    """How a step under the lease ended: decide again under it, or leave it (committed, or nothing more to do)."""

    AGAIN = "again"
    COMMITTED = "committed"


def advance(region: Region, view: TaskView, decision: Advance) -> Step:
    """Take ``decision.edge``. Facts that gates and effects leave are rows: the next decision is made on them."""
    try:
        base_sha, repository = region.base()
    except ConfigurationError as error:
        gates.record(region, view, "configuration", gates.could_not_run(view, "configuration", str(error)))
        return Step.AGAIN
    bench = Bench(repository, base_sha)
    try:
        if decision.judged:
            return _after_merge(region, view, decision.edge, bench)
        if decision.edge.in_merge_lane:
            return _through_lane(region, view, decision.edge, bench)
        if not gates.all_pass(region, view, decision.edge.gates, bench):
            return Step.AGAIN
        _do(region, view, decision.edge.effects, decision.edge, bench)
    except EffectRefused as refusal:
        return _refused(region, view, refusal)
    _leave_no_claim_open(region, bench)
    return commit(region, view, decision.edge)


def _through_lane(region: Region, view: TaskView, edge: Edge, bench: Bench) -> Step:
    with lane.merge_lane(region, view) as held_lane:
        if isinstance(held_lane, Busy):
            # Busy with an owner is over soon; what people or a failed deploy closed is opened as a fact, which wakes.
            retry_s = _LANE_CLOSED_S if held_lane.owner is None else _LANE_BUSY_S
            busy = GateResult(GateOutcome.WAIT, held_lane.why, head_sha=view.head_sha, retry_after_s=retry_s)
            gates.record(region, view, "merge_lane", busy)
            return Step.AGAIN
        # The base is read again inside the lane: only here nobody else of ours moves it.
        base_sha, repository = region.base()
        found = lane.build(region, view, base_sha)
        if isinstance(found, lane.MovedHead):
            return _moved_head(region, view, found)
        bench = (
            Bench(repository, base_sha, conflict=found)
            if isinstance(found, MergeConflict)
            else Bench(repository, base_sha, candidate=found)
        )
        if not gates.all_pass(region, view, edge.gates, bench):
            return Step.AGAIN
        lane.must_hold(region, view, held_lane)
        _do(region, view, lane.BEFORE_MERGE, edge, bench)
    return _after_merge(region, region.view(), edge, bench)


def _after_merge(region: Region, view: TaskView, edge: Edge, bench: Bench) -> Step:
    later = tuple(kind for kind in edge.effects if kind not in lane.BEFORE_MERGE)
    _do(region, view, later, edge, bench)
    _leave_no_claim_open(region, bench)
    return commit(region, view, edge)


def _leave_no_claim_open(region: Region, bench: Bench) -> None:
    """A dead owner's claim for a candidate that the base has overtaken (an image of it) is nobody's work any more:
    withdrawn and read back before the visit is left. Merges are settled by their own look."""
    view = region.view()
    left = tuple(one for one in view.open_claims() if one.kind is not EffectKind.MERGE_PR)
    if left:
        scene = Scene(view=replace(view, effects=left), repository=bench.repository, base_sha=bench.base_sha)
        effects.withdraw_open_claims(region, scene)


def _moved_head(region: Region, view: TaskView, found: lane.MovedHead) -> Step:
    if adopt_merge_by_hand(region.engine, region.ports, view):
        return Step.AGAIN
    where = "is gone" if found.found is None else f"stands at {found.found[:12]}"
    evidence = f"the branch {view.branch} {where}, not at the judged head {(view.head_sha or '')[:12]}"
    gates.record(region, view, "check_branch_mergeable", GateResult(GateOutcome.FAIL, evidence, head_sha=view.head_sha))
    return Step.AGAIN


def _do(region: Region, view: TaskView, kinds: tuple[EffectKind, ...], edge: Edge, bench: Bench) -> None:
    for kind in kinds:
        scene = Scene(
            view=view,
            repository=bench.repository,
            base_sha=bench.base_sha,
            edge=edge,
            candidate=bench.candidate,
            note=_note(view, edge),
            occasion=f"{edge.source}-to-{edge.target}",
        )
        _run(region, scene, kind)
        view = region.view()


def _run(region: Region, scene: Scene, kind: EffectKind) -> None:
    """A branch that somebody pushed to is kept; what is in production is done all the same."""
    try:
        effects.run(region, scene, kind)
    except EffectRefused:
        if kind is not EffectKind.DELETE_BRANCH:
            raise


def _note(view: TaskView, edge: Edge) -> str:
    verdict = None if view.job is None else view.job.verdict
    said = "" if verdict is None else f" {verdict.summary}"
    if edge.target is Stage.DONE:
        late = "" if view.rejected is None else f" That was too late: {view.rejected}"
        return f"{view.work_item} is in production as {(view.merged_sha or '')[:12]}.{late}"
    return f"{view.work_item}: {edge.source} is done, {edge.target} begins.{said}"


def _refused(region: Region, view: TaskView, refusal: EffectRefused) -> Step:
    """What an effect's target refuses is a fact like a gate's: the next decision rests on it."""
    if refusal.then is not Then.DECIDE_AGAIN:
        name = REFUSED if refusal.then is Then.ASK else f"effect.{refusal.kind}"
        gates.record(region, view, name, GateResult(GateOutcome.FAIL, refusal.message, head_sha=view.head_sha))
    return Step.AGAIN


def commit(region: Region, view: TaskView, edge: Edge, evidence: str = "", new_branch: str | None = None) -> Step:
    """Commit ``edge`` by compare-and-swap on what ``view`` showed. A lost race has no effect: the loser leaves."""
    serial = region.ports.config.concurrency if _enters_serial_part(edge) else None
    with_agent = edge.target in view.policy.agent_stages
    step = StageCommit(
        expected=edge.source,
        seq=view.stage_seq,
        target=edge.target,
        next_job=NextJob(evidence) if with_agent else None,
        serial_limit=serial,
        new_branch=new_branch,
    )
    with region.engine.store.transaction(region.held.actor) as connection:
        outcome = stage_commits.commit_stage_cas(connection, region.held, step)
        merged = isinstance(outcome, Committed) and edge.target in AFTER_MERGE
        opened = merged and switches.open_lane(connection, lane.lane_of(region), view.work_item)
    if isinstance(outcome, LostRace):
        raise LostRaceError(outcome.why)
    hit("stage.after_commit")
    if opened:
        lane.wake_waiting(region, view)
    return Step.COMMITTED


def _enters_serial_part(edge: Edge) -> bool:
    return edge.source is Stage.ARCHITECTURE and edge.target is Stage.DEVELOPMENT


def effect_error(region: Region, view: TaskView, error: OrchestratorError) -> Step:
    """The outside did not answer while an effect or a read was on: wait with backoff, park after too many."""
    gates.record(region, view, "outside", gates.could_not_run(view, "outside", str(error)))
    return Step.AGAIN
