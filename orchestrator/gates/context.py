"""What a gate may look at. Gates read and judge; none of them changes the outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.domain.configuration import RepositoryConfig
from orchestrator.domain.views import GateResult, TaskView
from orchestrator.ports import ChildRunner, MergeCandidate, MergeConflict, ProjectPorts
from orchestrator.store.database import Store


@dataclass(frozen=True, slots=True)
class GateContext:
    """One task at one edge, under its lease.

    ``base_sha``: tip of the base branch as fetched for this pass. ``repository``: configuration read from that
    commit. ``candidate``: the merge of (base, head) that the lane's gates judge; None outside the lane, and where a
    machine cannot build it: then ``conflict`` says why.
    """

    view: TaskView
    ports: ProjectPorts
    repository: RepositoryConfig
    base_sha: str
    candidate: MergeCandidate | None
    children: ChildRunner
    store: Store
    conflict: MergeConflict | None = None


Gate = Callable[[GateContext], GateResult]
"""A check. It returns ``error`` (or raises TransientError) when it could not run: that is never a ``fail``."""
