"""Work items as a tracker shows them, in the orchestrator's own words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class TrackerState(StrEnum):
    """The states of a work item that mean something to the orchestrator; an adapter maps its own to these."""

    BACKLOG = "backlog"
    TO_ANALYSE = "to-analyse"
    IN_PROGRESS = "in-progress"
    NEEDS_HUMAN = "needs-human"
    STOP = "stop"
    DONE = "done"
    CANCELLED = "cancelled"


ENDINGS: Final = frozenset({TrackerState.DONE, TrackerState.CANCELLED})
"""Where a card stands for good."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A current read of a work item. ``blocked_by`` names the items that block it and are not terminal there; a list
    of items may leave it empty, because it costs a read of its own. Title, body and labels are what anybody wrote."""

    key: str
    project: str
    title: str
    body: str
    state: TrackerState
    priority: int
    author: str
    blocked_by: tuple[str, ...]
    updated_at: datetime
    labels: tuple[str, ...] = ()
