"""Stages, edges, and what each edge asks for: pure data, the one table that everything else reads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Stage(StrEnum):
    """Where a task stands."""

    ANALYSIS = "analysis"
    ARCHITECTURE = "architecture"
    DEVELOPMENT = "development"
    REVIEW = "review"
    TESTING = "testing"
    DEPLOY_STAGING = "deploy-staging"
    DEPLOY = "deploy"
    DONE = "done"
    CANCELLED = "cancelled"


class Actor(StrEnum):
    """Who entered a transition."""

    MONITOR = "monitor"
    PLANE = "plane"
    GITEA = "gitea"
    RECONCILER = "reconciler"
    REAPER = "reaper"
    FINALIZER = "finalizer"
    OPERATOR = "operator"


class EffectKind(StrEnum):
    """Every kind of thing done to the outside world. A row of the ledger has exactly one."""

    TRACKER_STATE = "tracker_state"
    TRACKER_COMMENT = "tracker_comment"
    NOTIFY = "notify"
    OPEN_PR = "open_pr"
    MERGE_PR = "merge_pr"
    RATCHET_COVERAGE = "ratchet_coverage"
    REBUILD_IMAGE = "rebuild_image"
    START_DEPLOY_STAGING = "start_deploy_staging"
    START_DEPLOY_PRODUCTION = "start_deploy_production"
    ROLL_BACK_DEPLOY = "roll_back_deploy"
    CLOSE_PR = "close_pr"
    DELETE_BRANCH = "delete_branch"
    REMOVE_WORKTREE = "remove_worktree"


class EdgeKind(StrEnum):
    """Why an edge exists: on towards production, back to development, or out by STOP."""

    FORWARD = "forward"
    ROLL_BACK = "roll_back"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Edge:
    """One allowed step. ``gates`` all pass before the first of ``effects`` is claimed; effects run in order."""

    source: Stage
    target: Stage
    kind: EdgeKind
    gates: tuple[str, ...] = ()
    effects: tuple[EffectKind, ...] = ()
    in_merge_lane: bool = False

    @property
    def name(self) -> str:
        return f"{self.source} -> {self.target}"


TERMINAL: Final = frozenset({Stage.DONE, Stage.CANCELLED})
AGENT_STAGES: Final = (
    Stage.ANALYSIS,
    Stage.ARCHITECTURE,
    Stage.DEVELOPMENT,
    Stage.REVIEW,
    Stage.TESTING,
)
"""Stages that cannot be left without an agent's verdict. ``deploy-staging`` may have an agent; ``deploy`` has none."""

OPTIONAL_AGENT_STAGES: Final = (Stage.DEPLOY_STAGING,)
AFTER_MERGE: Final = frozenset({Stage.DEPLOY, Stage.DONE})
SERIAL_STAGES: Final = frozenset({Stage.DEVELOPMENT, Stage.REVIEW, Stage.TESTING, Stage.DEPLOY_STAGING, Stage.DEPLOY})
"""Stages that count against a project's concurrency."""

START_GATES: Final = ("check_authorised",)
START_EFFECTS: Final = (EffectKind.TRACKER_STATE, EffectKind.NOTIFY)
"""What the entry into ``analysis`` asks for; there is no stage before it."""

_FORWARD: Final = (
    Edge(
        Stage.ANALYSIS,
        Stage.ARCHITECTURE,
        EdgeKind.FORWARD,
        ("check_analysis_complete",),
        (EffectKind.TRACKER_COMMENT,),
    ),
    Edge(
        Stage.ARCHITECTURE,
        Stage.DEVELOPMENT,
        EdgeKind.FORWARD,
        ("check_architecture_done",),
        (EffectKind.TRACKER_COMMENT,),
    ),
    Edge(
        Stage.DEVELOPMENT,
        Stage.REVIEW,
        EdgeKind.FORWARD,
        ("check_branch_pushed", "check_ci_green", "check_scope"),
        (EffectKind.OPEN_PR,),
    ),
    Edge(
        Stage.REVIEW,
        Stage.TESTING,
        EdgeKind.FORWARD,
        ("check_review_verdict",),
        (EffectKind.TRACKER_COMMENT,),
    ),
    Edge(
        Stage.TESTING,
        Stage.DEPLOY_STAGING,
        EdgeKind.FORWARD,
        # Again: reviewers and testers commit too.
        ("check_tests_pass", "check_scope"),
        (EffectKind.START_DEPLOY_STAGING,),
    ),
    Edge(
        Stage.DEPLOY_STAGING,
        Stage.DEPLOY,
        EdgeKind.FORWARD,
        (
            "check_staging_healthy",
            "check_scope",
            "check_security",
            "check_branch_mergeable",
            "check_coverage",
            "check_test_dilution",
            "check_image_fresh",
            "check_approval",
        ),
        (
            EffectKind.REBUILD_IMAGE,
            EffectKind.MERGE_PR,
            EffectKind.RATCHET_COVERAGE,
            EffectKind.START_DEPLOY_PRODUCTION,
        ),
        in_merge_lane=True,
    ),
    Edge(
        Stage.DEPLOY,
        Stage.DONE,
        EdgeKind.FORWARD,
        ("check_deploy_observed",),
        (
            EffectKind.DELETE_BRANCH,
            EffectKind.REMOVE_WORKTREE,
            EffectKind.TRACKER_STATE,
            EffectKind.NOTIFY,
        ),
    ),
)
_ROLL_BACK: Final = tuple(
    Edge(source, Stage.DEVELOPMENT, EdgeKind.ROLL_BACK, (), (EffectKind.TRACKER_COMMENT,))
    for source in (Stage.REVIEW, Stage.TESTING, Stage.DEPLOY_STAGING, Stage.DEPLOY)
)
_CANCEL: Final = tuple(
    Edge(
        source,
        Stage.CANCELLED,
        EdgeKind.CANCEL,
        (),
        (EffectKind.CLOSE_PR, EffectKind.REMOVE_WORKTREE, EffectKind.DELETE_BRANCH),
    )
    for source in Stage
    if source not in TERMINAL
)

EDGES: Final = _FORWARD + _ROLL_BACK + _CANCEL
STAGE_TRANSITIONS: Final = {stage: frozenset(edge.target for edge in EDGES if edge.source is stage) for stage in Stage}


def forward_edge(stage: Stage) -> Edge | None:
    """The edge towards production, or None for a terminal stage."""
    return next((edge for edge in _FORWARD if edge.source is stage), None)


def roll_back_edge(stage: Stage) -> Edge | None:
    """The edge back to development, or None where the task repeats its stage instead."""
    return next((edge for edge in _ROLL_BACK if edge.source is stage), None)


def cancel_edge(stage: Stage) -> Edge | None:
    """The edge out by STOP, or None for a terminal stage."""
    return next((edge for edge in _CANCEL if edge.source is stage), None)


def is_terminal(stage: Stage) -> bool:
    """Done or cancelled: nothing leaves such a stage, and every guard treats both alike."""
    return stage in TERMINAL
