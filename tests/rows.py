"""Tasks and leases as rows, for tests of what is shown of them."""

from __future__ import annotations

from orchestrator.adapters.host import LinuxHost
from orchestrator.domain.ownership import HeldLease, Owner
from orchestrator.domain.stages import Actor, Stage
from orchestrator.store import leases, tasks
from orchestrator.store.database import Store
from orchestrator.store.tasks import NewTask, TaskRef

QUEUE_KEYS = [
    "stages",
    "jobs",
    "agents",
    "reaper",
    "reconciler",
    "transition_lease",
    "merge_lane",
    "stop",
    "deploys",
    "inbox",
    "nodes",
    "switches",
    "finalizer_defers_total",
    "finalizer_owned",
]
"""Keys of ``GET /queue`` that programs rely on, in their order."""


def start_task(
    store: Store,
    key: str = "D-1",
    title: str = "a title",
    body: str = "",
    *,
    priority: int = 0,
    blocked_by: tuple[str, ...] = (),
) -> TaskRef:
    """A task of project D that begins at analysis."""
    with store.transaction(Actor.OPERATOR) as connection:
        begun = tasks.start(connection, NewTask(key, "D", title, body, "ann", priority, blocked_by))
    assert isinstance(begun, TaskRef)
    return begun


def take(store: Store, task: TaskRef, owner: Owner | None = None) -> HeldLease:
    """The task's lease, held by this process unless another is named."""
    host = LinuxHost("n1", lambda _owner: False)
    entry = leases.Entry("analysis -> architecture", Actor.PLANE, owner or host.myself())
    with store.transaction() as connection:
        held = leases.acquire(connection, task.id, entry, host)
    assert isinstance(held, HeldLease)
    return held


def park(store: Store, task: TaskRef) -> None:
    """The task stands still: no agent."""
    held = take(store, task)
    with store.transaction() as connection:
        tasks.park_if_epoch_holds(connection, held, tasks.SameStage(Stage.ANALYSIS, 0), "no agent")
