"""A child of the pool that died is seen dead, and replaced, within half a second.

Celery learns of a death by a pipe that closes. The kernel closes it a moment before the process can be collected: on a
busy machine the look that follows comes too early, and Celery's next one is five seconds later. For so long neither
the message that the child had nor a successor for it would be seen to.
"""

from __future__ import annotations

from typing import Any, Final

from celery.bootsteps import StartStopStep

LOOK_S: Final = 0.5


class LookForDeadChildren(StartStopStep):
    """Looks after the children every ``LOOK_S`` seconds, in the loop of the worker's main process. A pool without
    child processes has nothing to look after."""

    requires = ("celery.worker.components:Hub", "celery.worker.components:Pool")

    def start(self, worker: Any) -> None:
        if worker.hub is not None:
            worker.hub.call_repeatedly(LOOK_S, worker.pool.maintain_pool)
