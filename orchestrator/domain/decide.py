"""``decide(view, now)``: the one place that says what a task does next, and why not when it does nothing.

Pure: a snapshot and the time in, exactly one decision out. Whoever acts on it holds the lease, has read the snapshot
again under it, and commits by compare-and-swap on what the decision was made on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Final, assert_never

from orchestrator.domain import budgets
from orchestrator.domain.budgets import ProviderPause
from orchestrator.domain.configuration import OnDeployFailure
from orchestrator.domain.stages import (
    AFTER_MERGE,
    AGENT_STAGES,
    Edge,
    EffectKind,
    Stage,
    forward_edge,
    is_terminal,
    roll_back_edge,
)
from orchestrator.domain.verdicts import Verdict, VerdictKind
from orchestrator.domain.views import (
    CardMove,
    DeploymentStatus,
    GateOutcome,
    GateResultView,
    JobStatus,
    JobView,
    Outcome,
    Parked,
    TaskView,
)

DISPATCH_PATIENCE: Final = timedelta(seconds=20)
"""How long a start that was sent to a node may take before it is sent again; a doubled start is harmless."""

OUTSIDE: Final = ("outside", "configuration")
"""Names under which the engine records that it could not act at all, beside the names of gates."""

REFUSED: Final = "refused"
"""Name under which the engine records that an effect's target refuses it for a reason only a person can mend."""

QUOTA_DELAY_S: Final = 900.0
"""Seconds until a run is tried again when a provider's quota named no reset."""

LONGEST_QUOTA_S: Final = 8 * 86_400.0
"""No provider's quota is counted over more than a week."""

BUSY_PROVIDER_DELAY_S: Final = 120.0
"""Seconds until a run is tried again after its CLI gave up on a busy provider, which takes minutes of retries."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now: all ``reasons``, and when to look again at the latest (None: only a fact changes it)."""

    reasons: tuple[str, ...]
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """Do the stage once more: what the agent is told, and after how many seconds."""

    evidence: str
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Launch:
    """Start the agent of ``stage``: its queued job, or a new round with ``again``."""

    stage: Stage
    again: Again | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The job's process ended: read its verdict and keep its work, on the node that has the worktree."""

    job_id: int
    node: str


@dataclass(frozen=True, slots=True)
class Advance:
    """Take ``edge``. ``judged``: its point of no return was passed in this visit, so gates have no say any more."""

    edge: Edge
    judged: bool = False


@dataclass(frozen=True, slots=True)
class RollBack:
    """Go back to development with ``reason``. ``before``: effects done first; ``new_branch``: after a merge."""

    edge: Edge
    reason: str
    before: tuple[EffectKind, ...] = ()
    new_branch: bool = False


@dataclass(frozen=True, slots=True)
class Park:
    """Stop moving until a person or a fact changes ``reason``; ``before`` are effects to be done first."""

    reason: str
    before: tuple[EffectKind, ...] = ()


@dataclass(frozen=True, slots=True)
class PutBack:
    """A person moved the card where it does not belong: answer, and put it back. The stage stays."""

    move: CardMove


@dataclass(frozen=True, slots=True)
class MoveCard:
    """The card does not stand where the task does: it shows people whether the task waits for them. The stage stays."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """A STOP request stands: end everything of this task and go to ``cancelled``; there, tell people with proof."""


Decision = Wait | Launch | Finish | Advance | RollBack | Park | PutBack | MoveCard | Cancel


def decide(view: TaskView, now: datetime) -> Decision:
    """What the task does next, as seen in ``view`` at ``now``."""
    if is_terminal(view.stage):
        told = view.stage is not Stage.CANCELLED or view.stop_acknowledged
        return Wait((f"it is {view.stage}",)) if told else Cancel()
    held_up = _held_up(view, now)
    if view.stop is not None and view.stop_enabled:
        return held_up if isinstance(held_up, Wait) else Cancel()
    if view.card_move is not None and held_up is None and not view.panic:
        return PutBack(view.card_move)
    if held_up is None and not view.panic and view.card_is_misplaced:
        return MoveCard()
    if view.parked is not None:
        return _stands_still(view.parked, held_up)
    return held_up or _next(view, now)


def _stands_still(parked: Parked, held_up: Wait | Park | None) -> Wait:
    """Also where the card could not be moved: then all that is tried again is that."""
    reasons = (f"parked: {parked.reason}",)
    return Wait((*reasons, *held_up.reasons), held_up.until) if isinstance(held_up, Wait) else Wait(reasons)


def _next(view: TaskView, now: datetime) -> Decision:
    if _point_of_no_return_passed(view):
        return Advance(_forward(view), judged=True)
    if view.rejected is not None and not _production_has_begun(view):
        return _send_back(view, view.rejected)
    if view.stage in AGENT_STAGES and view.stage not in view.policy.agent_stages:
        return Park(f"no agent is configured for {view.stage}: name one under agents in orchestrator.yml")
    if view.stage in view.policy.agent_stages:
        return _with_agent(view, now)
    return _take_edge(view, now)


def _held_up(view: TaskView, now: datetime) -> Wait | Park | None:
    """The outside or the repository's configuration could not be read or did not answer: wait, in the end for a
    person. Only errors without a break count: an outage last week is over. A parked task waits for a person already:
    its card is tried for as long as it takes."""
    errors: list[GateResultView] = []
    for result in reversed(view.gate_results):
        if result.gate not in OUTSIDE or result.outcome is not GateOutcome.ERROR:
            break
        errors.append(result)
    if not errors:
        return None
    if errors[0].not_before is not None and now < errors[0].not_before:
        return Wait((f"{errors[0].gate}: {errors[0].evidence}",), errors[0].not_before)
    if view.parked is None and len(errors) >= view.policy.limits.gate_errors:
        return Park(f"{len(errors)} errors in a row. Last: {errors[0].evidence}")
    return None


def _forward(view: TaskView) -> Edge:
    edge = forward_edge(view.stage)
    assert edge is not None, "a live stage has an edge towards production"
    return edge


def _point_of_no_return_passed(view: TaskView) -> bool:
    """In this visit the merge is known to have landed, or the tracker may have been told the end: the only way is
    forward, and what a person rejects now is rejected too late."""
    if view.stage is Stage.DEPLOY:
        return view.end_is_told
    merge = view.confirmed(EffectKind.MERGE_PR)
    return view.stage is Stage.DEPLOY_STAGING and merge is not None and merge.visit == view.visit


def _production_has_begun(view: TaskView) -> bool:
    """As for a STOP: what a deployer may be bringing up is not called off. Its outcome decides, and a person who
    wants the version before asks for that by name."""
    begun = (DeploymentStatus.REQUESTED, DeploymentStatus.RUNNING, DeploymentStatus.SUCCEEDED)
    newest = [one for one in view.deployments if one.environment == "production"][-1:]
    return view.stage in AFTER_MERGE and any(one.status in begun for one in newest)


def _with_agent(view: TaskView, now: datetime) -> Decision:
    job = view.job
    if job is None:
        return _launch(view, now, Again(""))
    match job.status:
        case JobStatus.QUEUED:
            return _launch_queued(view, job, now)
        case JobStatus.RUNNING | JobStatus.FINISHED:
            return _with_process(view, job, now)
        case JobStatus.LOST:
            return _launch(view, now, Again(f"The run before this one was lost: {job.detail}"))
        case JobStatus.CANCELLED:
            return Park("its job was cancelled while no STOP stands; retry to start it again")
        case _:
            assert_never(job.status)


def _launch_queued(view: TaskView, job: JobView, now: datetime) -> Decision:
    if job.dispatched_at is not None and now < job.dispatched_at + DISPATCH_PATIENCE:
        return Wait((f"its agent is being started on {job.node}",), job.dispatched_at + DISPATCH_PATIENCE)
    return _launch(view, now, None)


def _launch(view: TaskView, now: datetime, again: Again | None) -> Decision:
    over = budgets.reached(view.spending, view.policy.limits, view.project, now)
    if over is not None and over.until is None:
        return Park(f"{over.figure}: raise its limit in orchestrator.yml, then retry")
    reasons = list(_start_reasons(view, now))
    reasons += [over.figure] if over is not None else []
    if reasons:
        return Wait(tuple(reasons), _looked_at_again(view, over))
    return Launch(view.stage, again)


def _looked_at_again(view: TaskView, over: budgets.Reached | None) -> datetime | None:
    """The latest of the moments that a start waits for; None where only a fact can change it."""
    provider = None if view.provider is None else view.provider.until
    moments = (view.retry_not_before, None if over is None else over.until, provider)
    return max((one for one in moments if one is not None), default=None)


def _start_reasons(view: TaskView, now: datetime) -> Iterable[str]:
    for scope in view.paused:
        yield "everything is paused" if scope == "*" else f"project {scope} is paused"
    if view.panic:
        yield "panic: no new effect may be claimed"
    if view.drained:
        yield "every node takes nothing new: `orch drain NODE --end` when one may work again"
    for blocker in view.blocked_by:
        yield f"blocked by {blocker}, which is neither done nor cancelled"
    limit = view.policy.limits.runs_per_project
    if view.project_runs >= limit:
        yield f"{view.project_runs} agents run in {view.project}, at most {limit} may"
    if view.provider is not None:
        yield from _provider_reasons(view.provider, view.task_id, now)
    if view.retry_not_before is not None and now < view.retry_not_before:
        yield f"it is tried again at {view.retry_not_before:%H:%M:%S} UTC"


def _provider_reasons(paused: ProviderPause, task_id: int, now: datetime) -> Iterable[str]:
    if now < paused.until:
        yield f"{paused.runtime} is paused until {paused.until:%Y-%m-%d %H:%M:%S} UTC: {paused.why}"
    elif paused.tried_by not in (None, task_id):
        yield f"another run tries first whether {paused.runtime} is back"


def _with_process(view: TaskView, job: JobView, now: datetime) -> Decision:
    if job.outcome is not None:
        return _after_run(view, job, job.outcome, now)
    if job.exited_at is None:
        since = "" if job.started_at is None else f" since {job.started_at:%H:%M:%S} UTC"
        return Wait((f"its agent works on {job.node}{since}",))
    return Finish(job.id, job.node or "")


def _after_run(view: TaskView, job: JobView, outcome: Outcome, now: datetime) -> Decision:
    match outcome:
        case Outcome.VERDICT:
            return _after_verdict(view, job.verdict, now)
        case (
            Outcome.NO_VERDICT
            | Outcome.KILLED
            | Outcome.TIMED_OUT
            | Outcome.SILENT
            | Outcome.INTERRUPTED
            | Outcome.TURN_LIMIT
            | Outcome.CONTEXT_FULL
        ):
            return _again(
                view, now, f"The run before this one ended without a verdict ({outcome}). {job.detail}".strip()
            )
        case Outcome.LOST | Outcome.STOPPED:
            return _launch(view, now, Again(f"The run before this one was cut off ({outcome})."))
        case Outcome.QUOTA:
            return Launch(view.stage, Again("", _until_reset_s(job, now)))
        case Outcome.RATE_LIMITED | Outcome.OVERLOADED:
            return Launch(view.stage, Again("", BUSY_PROVIDER_DELAY_S))
        case Outcome.BUDGET:
            return Park(f"its agent reached a budget: {job.detail or 'see its log'}")
        case Outcome.AUTH | Outcome.BAD_START:
            return Park(f"its agent cannot start ({outcome}): {job.detail or 'see its log'}")
        case _:
            assert_never(outcome)


def _until_reset_s(job: JobView, now: datetime) -> float:
    """Seconds until the quota is back. A reset that has passed, or lies beyond all reason, is not believed."""
    left = 0.0 if job.resume_at is None else (job.resume_at - now).total_seconds()
    return left if 0 < left <= LONGEST_QUOTA_S else QUOTA_DELAY_S


def _after_verdict(view: TaskView, verdict: Verdict | None, now: datetime) -> Decision:
    if verdict is None:
        return _again(view, now, "The verdict of the run before this one could not be read.")
    match verdict.kind:
        case VerdictKind.PASS:
            return _take_edge(view, now)
        case VerdictKind.FAIL | VerdictKind.NEEDS_CHANGES:
            return _send_back_or_again(view, now, describe(verdict))
        case VerdictKind.BLOCKED:
            return Park(f"its agent is blocked on {verdict.blocked_on}: {verdict.summary}")
        case _:
            assert_never(verdict.kind)


def describe(verdict: Verdict) -> str:
    """The verdict as evidence for the next agent and for people."""
    lines = [f"{verdict.kind}: {verdict.summary}"]
    for finding in verdict.findings:
        place = "" if finding.file is None else f" ({finding.file}{'' if finding.line is None else f':{finding.line}'})"
        lines.append(f"- {finding.severity}: {finding.title}{place}. {finding.detail}")
    return "\n".join(lines)


def _send_back_or_again(view: TaskView, now: datetime, reason: str) -> Decision:
    return _again(view, now, reason) if roll_back_edge(view.stage) is None else _send_back(view, reason)


def _again(view: TaskView, now: datetime, evidence: str) -> Decision:
    """The same stage once more, while its attempts last."""
    limit = view.policy.limits.attempts_per_stage
    ended = 0 if view.job is None or view.job.status is not JobStatus.RUNNING else 1
    attempts = view.counted_attempts + ended
    if attempts >= limit:
        return Park(f"{attempts} of {limit} attempts at {view.stage} are used up. Last: {evidence}")
    return _launch(view, now, Again(evidence))


def _send_back(view: TaskView, reason: str) -> Decision:
    edge = roll_back_edge(view.stage)
    if edge is None:
        return Park(reason)
    limit = view.policy.limits.roll_backs_per_task
    if view.roll_backs >= limit:
        return Park(f"{view.roll_backs} of {limit} roll backs are used up. Last: {reason}", undo_of_failed_deploy(view))
    if view.stage in AFTER_MERGE:
        return _after_failed_deploy(view, edge, reason)
    if view.merged_sha is not None:
        return Park(
            f"merged outside as {view.merged_sha[:12]}, so it cannot go back to development. {reason} "
            "Open a new work item for the mend, then stop this one."
        )
    return RollBack(edge, reason, undo_of_failed_deploy(view))


def undo_of_failed_deploy(view: TaskView) -> tuple[EffectKind, ...]:
    """A deploy of this visit's stage that failed is rolled back before the task goes, stands or is stopped anywhere."""
    environments = {Stage.DEPLOY: "production", Stage.DEPLOY_STAGING: "staging"}
    wanted = environments.get(view.stage)
    newest = [one for one in view.deployments if one.environment == wanted][-1:]
    failed = any(one.status is DeploymentStatus.FAILED for one in newest)
    return (EffectKind.ROLL_BACK_DEPLOY,) if failed else ()


def _after_failed_deploy(view: TaskView, edge: Edge, reason: str) -> Decision:
    match view.policy.on_deploy_failure:
        case OnDeployFailure.PARK:
            why = f"{reason} The previous version is put back; mend it in a new work item."
            return Park(why, undo_of_failed_deploy(view))
        case OnDeployFailure.FIX_FORWARD:
            return RollBack(edge, reason, undo_of_failed_deploy(view), new_branch=True)
        case _:
            assert_never(view.policy.on_deploy_failure)


def _take_edge(view: TaskView, now: datetime) -> Decision:
    edge = _forward(view)
    newest = {result.gate: result for result in view.gate_results}.values()
    failed = [one for one in newest if one.outcome is GateOutcome.FAIL]
    refused = [one for one in failed if one.gate == REFUSED]
    if refused:
        return Park(refused[0].evidence)
    if failed:
        return _send_back_or_again(view, now, "\n".join(f"{one.gate} failed: {one.evidence}" for one in failed))
    broken = _broken_gate(view)
    if broken is not None:
        return Park(broken)
    reasons = list(_edge_reasons(view, edge))
    waiting = [one for one in newest if _is_waited_for(one, view, now)]
    if reasons or waiting:
        return Wait(
            (*reasons, *(f"{one.gate}: {one.evidence}" for one in waiting)),
            min((one.not_before for one in waiting if one.not_before is not None), default=None),
        )
    return Advance(edge)


def _edge_reasons(view: TaskView, edge: Edge) -> Iterable[str]:
    # Permission is asked when a claim is made; what was claimed in this visit is still finished.
    if view.panic and not any(one.visit == view.visit for one in view.open_claims()):
        yield "panic: no new effect may be claimed"
    limit = view.policy.concurrency
    if edge.target is Stage.DEVELOPMENT and view.serial_load >= limit:
        yield f"{view.serial_load} of {limit} items of {view.project} are between development and done"


def _broken_gate(view: TaskView) -> str | None:
    """A gate that could not run too often in a row is a matter for a person. The outside is judged in ``_held_up``."""
    limit = view.policy.limits.gate_errors
    for gate in dict.fromkeys(one.gate for one in view.gate_results if one.gate not in OUTSIDE):
        newest_first = (one for one in reversed(view.gate_results) if one.gate == gate)
        errors = list(takewhile(lambda one: one.outcome is GateOutcome.ERROR, newest_first))
        if len(errors) >= limit:
            return f"{gate} could not run {len(errors)} times in a row. Last: {errors[0].evidence}"
    return None


def _is_waited_for(result: GateResultView, view: TaskView, now: datetime) -> bool:
    if result.not_before is None or now >= result.not_before:
        return False
    if result.outcome is GateOutcome.ERROR:
        return True
    return result.outcome is GateOutcome.WAIT and result.at >= view.facts_at
