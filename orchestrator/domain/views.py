"""Frozen snapshots that the pure core decides on. One ``TaskView`` is one consistent read of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.budgets import ProviderPause, Spending
from orchestrator.domain.configuration import Approval, Limits, OnDeployFailure
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.verdicts import Verdict
from orchestrator.domain.work_items import ENDINGS, TrackerState


class JobStatus(StrEnum):
    """A job waits, has a process, or is over. The last three are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    LOST = "lost"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How an agent run ended, as a kind. Only ``VERDICT`` comes with an answer."""

    VERDICT = "verdict"
    NO_VERDICT = "no-verdict"
    KILLED = "killed"
    TIMED_OUT = "timed-out"
    SILENT = "silent"
    BAD_START = "bad-start"
    AUTH = "auth"
    QUOTA = "quota"
    RATE_LIMITED = "rate-limited"
    OVERLOADED = "overloaded"
    TURN_LIMIT = "turn-limit"
    BUDGET = "budget"
    CONTEXT_FULL = "context-full"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    STOPPED = "stopped"


class GateOutcome(StrEnum):
    """What a gate said. ``ERROR``: it could not run, which is never a fail. ``WAIT``: ask again later."""

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    WAIT = "wait"


class EffectStatus(StrEnum):
    """Where a ledger row stands."""

    CLAIMED = "claimed"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    REVOKED = "revoked"


class DeploymentStatus(StrEnum):
    """Where a deployment stands. The last four are final."""

    REQUESTED = "requested"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class JobView:
    """The newest job of the present visit, of whatever round.

    ``exited_at``: the process is known to have ended. ``outcome``: its verdict was read, its work committed
    and pushed. The job stays ``running`` until the edge it led to is committed. ``resume_at``: when the quota that it
    met comes back.
    """

    id: int
    stage: Stage
    visit: int
    round: int
    status: JobStatus
    node: str | None
    dispatched_at: datetime | None
    started_at: datetime | None
    exited_at: datetime | None
    outcome: Outcome | None
    verdict: Verdict | None
    head_sha: str | None
    detail: str = ""
    resume_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate said, bound to what it judged. ``evidence`` is shown to people and to the next agent.

    ``retry_after_s`` (seconds) goes with ``WAIT``; ``tree_sha`` is the tree of the merge result where the gate
    judged that. ``reused`` marks a result found for the same gate, tree and configuration; ``figure`` is what the
    gate measured, where it measures (a line rate).
    """

    outcome: GateOutcome
    evidence: str
    head_sha: str | None = None
    base_sha: str | None = None
    tree_sha: str | None = None
    config_digest: str = ""
    retry_after_s: float = 5.0
    reused: bool = False
    figure: float | None = None


@dataclass(frozen=True, slots=True)
class GateResultView:
    """A gate result of the present visit and round, as stored."""

    gate: str
    outcome: GateOutcome
    evidence: str
    head_sha: str | None
    at: datetime
    not_before: datetime | None
    figure: float | None = None


@dataclass(frozen=True, slots=True)
class EffectView:
    """A ledger row of this task. ``request`` is what was decided; ``result`` what was seen."""

    id: int
    kind: EffectKind
    target: str
    visit: int
    status: EffectStatus
    epoch: int
    request: Mapping[str, str]
    result: Mapping[str, str]
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """A deployment that this task asked for."""

    id: int
    environment: str
    visit: int
    sha: str
    status: DeploymentStatus
    previous_sha: str | None
    observed_sha: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class StopRequest:
    """A durable wish that the task ends in ``cancelled``."""

    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Parked:
    """The task stands still until a person (or a named fact) changes that."""

    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CardMove:
    """A person moved the card of a live task to a state that does not belong there, and nobody answered yet.

    ``relaunched``: the move was accepted as a wish to try again, so that it is not refused but only put back.
    """

    id: int
    to: TrackerState
    relaunched: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What configuration says about this task's project, frozen into the snapshot."""

    approval: Approval
    on_deploy_failure: OnDeployFailure
    concurrency: int
    limits: Limits
    agent_stages: frozenset[Stage]
    runtimes: Mapping[Stage, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskView:
    """Everything ``decide`` may know of one task, read in one snapshot.

    ``visit`` equals ``stage_seq``: a stage entered again is another visit. ``round`` counts new starts inside a
    visit (a repeated run, an operator's retry); facts of earlier rounds are not shown here.
    ``generation`` counts branches: a fix after the merge needs a branch of its own.
    """

    task_id: int
    work_item: str
    project: str
    title: str
    stage: Stage
    stage_seq: int
    lease_epoch: int
    round: int
    generation: int
    priority: int
    created_at: datetime
    facts_at: datetime
    branch: str
    head_sha: str | None
    pull_request: int | None
    merged_sha: str | None
    stop: StopRequest | None
    stop_acknowledged: bool
    stop_enabled: bool
    parked: Parked | None
    paused: tuple[str, ...]
    panic: bool
    approved_by: str | None
    rejected: str | None
    blocked_by: tuple[str, ...]
    serial_load: int
    project_runs: int
    counted_attempts: int
    roll_backs: int
    retry_not_before: datetime | None
    job: JobView | None
    gate_results: tuple[GateResultView, ...]
    effects: tuple[EffectView, ...]
    deployments: tuple[DeploymentView, ...]
    policy: Policy
    spending: Spending = field(default_factory=Spending)
    provider: ProviderPause | None = None
    card_move: CardMove | None = None
    drained: bool = False
    """Every node takes nothing new: what runs goes on."""

    @property
    def visit(self) -> int:
        return self.stage_seq

    def effects_of_visit(self) -> tuple[EffectView, ...]:
        return tuple(one for one in self.effects if one.visit == self.stage_seq)

    def open_claims(self) -> tuple[EffectView, ...]:
        """Claims whose outcome is not known yet, of any visit."""
        return tuple(one for one in self.effects if one.status is EffectStatus.CLAIMED)

    def confirmed(self, kind: EffectKind) -> EffectView | None:
        """The newest confirmed row of ``kind``, of any visit."""
        found = [one for one in self.effects if one.kind is kind and one.status is EffectStatus.CONFIRMED]
        return found[-1] if found else None

    @property
    def card_belongs(self) -> TrackerState:
        """Where the card of a live task stands: at work, or waiting for a person."""
        return TrackerState.IN_PROGRESS if self.parked is None else TrackerState.NEEDS_HUMAN

    @property
    def card_is_misplaced(self) -> bool:
        """Whether our own writes left the card elsewhere than ``card_belongs``, or may have: an open claim may have
        landed or not. A task that was not begun has nothing to take back, and an end that was written is the last word.
        """
        wrong = TrackerState.NEEDS_HUMAN if self.parked is None else TrackerState.IN_PROGRESS
        written, asked = self.last_card(), self.last_card(EffectStatus.CLAIMED)
        never = self.parked is not None and written is None
        return never or any(one is not None and one.request["state"] == wrong for one in (written, asked))

    @property
    def end_is_told(self) -> bool:
        """Whether the tracker was told in this visit that the item has ended, or may have been: an open claim may have
        landed."""
        told = [one for one in self.effects if one.kind is EffectKind.TRACKER_STATE and one.visit == self.visit]
        possible = (EffectStatus.CLAIMED, EffectStatus.CONFIRMED)
        return any(one.request["state"] in ENDINGS and one.status in possible for one in told)

    def last_card(self, *also: EffectStatus) -> EffectView | None:
        """The newest confirmed write of the card's state, of any visit; also one that stands as ``also``."""
        found = [one for one in self.effects if one.kind is EffectKind.TRACKER_STATE]
        confirmed = [one for one in found if one.status is EffectStatus.CONFIRMED]
        ends = [one for one in confirmed if one.request["state"] in ENDINGS]
        newest = ends or [one for one in found if one in confirmed or one.status in also]
        return newest[-1] if newest else None
