"""Effects: one module each. The ledger runs them; nothing else may call an ``act``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from orchestrator.domain.stages import EffectKind
from orchestrator.effects.close_pr import ClosePullRequest
from orchestrator.effects.contract import Effect
from orchestrator.effects.delete_branch import DeleteBranch
from orchestrator.effects.merge_pr import MergePullRequest
from orchestrator.effects.notify import NotifyPeople
from orchestrator.effects.open_pr import OpenPullRequest
from orchestrator.effects.ratchet_coverage import RatchetCoverage
from orchestrator.effects.rebuild_image import RebuildImage
from orchestrator.effects.remove_worktree import RemoveWorktree
from orchestrator.effects.roll_back_deploy import RollBackDeploy
from orchestrator.effects.start_deploy import STAGING, StartDeploy
from orchestrator.effects.tracker_comment import CommentOnWorkItem
from orchestrator.effects.tracker_state import MoveWorkItem
from orchestrator.store.deployments import PRODUCTION

_ALL: Final[tuple[Effect, ...]] = (
    MoveWorkItem(),
    CommentOnWorkItem(),
    NotifyPeople(),
    OpenPullRequest(),
    MergePullRequest(),
    RatchetCoverage(),
    RebuildImage(),
    StartDeploy(EffectKind.START_DEPLOY_STAGING, STAGING),
    StartDeploy(EffectKind.START_DEPLOY_PRODUCTION, PRODUCTION),
    RollBackDeploy(),
    ClosePullRequest(),
    DeleteBranch(),
    RemoveWorktree(),
)

EFFECTS: Final[Mapping[EffectKind, Effect]] = MappingProxyType({effect.kind: effect for effect in _ALL})
"""The one effect of each kind."""
