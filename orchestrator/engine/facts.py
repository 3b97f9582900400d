"""Facts of the outside that nobody of ours made: a pull request merged by a person is adopted, whatever the stage."""

from __future__ import annotations

from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import EffectStatus, TaskView
from orchestrator.engine.context import Engine
from orchestrator.ports import ProjectPorts, PullRequestState
from orchestrator.store import tasks


def adopt_merge_by_hand(engine: Engine, ports: ProjectPorts, view: TaskView) -> bool:
    """Record the merge of the task's pull request when a current read shows one that no claim of ours explains."""
    if view.pull_request is None or view.merged_sha is not None:
        return False
    found = ports.forge.pull_request(view.pull_request)
    if found.state is not PullRequestState.MERGED or found.merge_sha is None:
        return False
    ours = (EffectStatus.CLAIMED, EffectStatus.CONFIRMED)
    explained = any(one.kind is EffectKind.MERGE_PR and one.status in ours for one in view.effects)
    with engine.store.transaction() as connection:
        tasks.record_merge(connection, view.task_id, found.merge_sha, by_hand=not explained)
    return True
