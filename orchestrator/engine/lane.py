"""The merge lane of a base branch: one re-test-and-merge at a time, and the merge commit that is tested and lands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.domain.errors import LostRaceError
from orchestrator.domain.ownership import Busy, HeldMergeLane
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import TaskView
from orchestrator.effects.merge_pr import merge_message
from orchestrator.effects.merged_commits import candidates
from orchestrator.engine.region import Region
from orchestrator.ports import MergeCandidate, MergeConflict
from orchestrator.store import leases, switches, tasks


@contextmanager
def merge_lane(region: Region, view: TaskView) -> Iterator[HeldMergeLane | Busy]:
    """Take the lane of the project's base branch, or say who has it; given back at exit."""
    base_branch, engine = region.ports.config.base_branch, region.engine
    with engine.store.transaction(region.held.actor) as connection:
        bar = switches.lane_bar(connection, lane_of(region), view.work_item)
        lane = (
            Busy(None, 0.0, bar)
            if bar is not None
            else leases.acquire_merge_lane(
                connection,
                region.held,
                view.project,
                base_branch,
                engine.host,
                reclaim=engine.switches.lease_reclaim_enabled,
            )
        )
    try:
        yield lane
    finally:
        if isinstance(lane, HeldMergeLane):
            with engine.store.transaction(region.held.actor) as connection:
                leases.release_merge_lane(connection, lane)


@dataclass(frozen=True, slots=True)
class MovedHead:
    """The branch stands at a commit that nobody judged: somebody pushed to it."""

    found: str | None


def build(region: Region, view: TaskView, base_sha: str) -> MergeCandidate | MergeConflict | MovedHead:
    """The merge of the judged head and the base. The same base gives the same commit, so that a successor
    recognises it, and one that stands on the branch already is taken as it is."""
    workspaces = region.ports.workspaces
    if view.merged_sha is not None:  # by a person, perhaps with the branch deleted: what landed is what is judged
        return MergeCandidate(view.merged_sha, workspaces.tree_of(view.merged_sha), base_sha, view.merged_sha)
    tip = workspaces.branch_tip(view.branch)
    if tip is None or view.head_sha is None or not _is_ours(region, view, tip):
        return MovedHead(tip)
    parents = _parents(region, tip)
    if tip != view.head_sha and parents[:1] == (base_sha,):
        return MergeCandidate(tip, workspaces.tree_of(tip), base_sha, tip)
    return workspaces.build_merge(tip, base_sha, merge_message(view))


def _is_ours(region: Region, view: TaskView, tip: str) -> bool:
    """Whether ``tip`` is the judged head, or a chain of this task's own lane merges on top of it.

    The ledger says which commits those are: each was claimed before it was published. What stands in a commit says
    nothing, for anybody can write a message.
    """
    claimed = candidates(view, view.branch)
    while tip != view.head_sha:
        if tip not in claimed:
            return False
        tip = _parents(region, tip)[1]
    return True


def _parents(region: Region, sha: str) -> tuple[str, ...]:
    return region.ports.workspaces.first_parents(sha, 1)[0][1]


def must_hold(region: Region, view: TaskView, lane: HeldMergeLane) -> None:
    """Raises LostRaceError when the lane was reclaimed, paused or closed: asked before the merge, after the long
    re-test."""
    with region.engine.store.transaction(region.held.actor) as connection:
        if not leases.holds_merge_lane(connection, lane):
            raise LostRaceError("the merge lane was taken away")
        bar = switches.lane_bar(connection, lane_of(region), view.work_item)
        if bar is not None:
            raise LostRaceError(bar)


def lane_of(region: Region) -> str:
    """Name of the lane: project/base-branch."""
    config = region.ports.config
    return f"{config.key}/{config.base_branch}"


def close_after(region: Region, view: TaskView, reason: str) -> None:
    """A production deploy of this task failed: nothing merges on top of it but its mend. Closing twice is once."""
    with region.engine.store.transaction(region.held.actor) as connection:
        if not leases.holds(connection, region.held):
            raise LostRaceError("the lease was taken away before the lane was closed")
        switches.close_lane(connection, lane_of(region), view.work_item, reason.partition("\n")[0][:500])


def wake_waiting(region: Region, view: TaskView) -> None:
    """The lane is open again: whoever waited for that looks at it now."""
    with region.engine.store.transaction(region.held.actor) as connection:
        waiting = [one for one in tasks.live(connection) if one.project == view.project and one.id != view.task_id]
        for one in waiting:
            tasks.touch_facts(connection, one.id)
    for one in waiting:
        region.engine.nudges.drive(one.id, one.work_item, region.held.actor)


BEFORE_MERGE = (EffectKind.REBUILD_IMAGE, EffectKind.MERGE_PR)
"""Effects that need the lane; it is given back as soon as the merge is confirmed."""
