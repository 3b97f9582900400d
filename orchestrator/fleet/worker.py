"""A spare: has loaded all that a worker or beat needs, and waits to be told by one line which of them to become.

Loading takes a second of a free core and several of a busy one; without that, who takes over from a dead one is there
at once. What the operator can change (settings, secrets, the Celery configuration) is read only then, as at every
start. No connection is opened before.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import runpy
import sys
from pathlib import Path
from typing import Final

from orchestrator import bootstrap
from orchestrator.fleet.spare import Order

LOADED: Final = (
    "celery.app.task",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.backends.base",
    "celery.bin.beat",
    "celery.bin.worker",
    "celery.concurrency.prefork",
    "celery.concurrency.thread",
    "celery.fixups.django",
    "celery.loaders.app",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "orchestrator.embedded.reachable",
    "orchestrator.engine.agents",
    "orchestrator.engine.budgets",
    "orchestrator.engine.deliveries",
    "orchestrator.engine.drive",
    "orchestrator.engine.finalizer",
    "orchestrator.engine.finishing",
    "orchestrator.engine.late_verdicts",
    "orchestrator.engine.left_worktrees",
    "orchestrator.engine.nodes",
    "orchestrator.engine.old_runs",
    "orchestrator.engine.operator",
    "orchestrator.engine.reaper",
    "orchestrator.engine.reconciler",
    "orchestrator.engine.spool",
    "orchestrator.engine.stopping",
    "orchestrator.store.read_models",
)
"""What ``tasks`` and Celery import in the end, by its roots. A test says what is missing here."""


def main() -> None:
    """Load, wait, become it. Ends when the supervisor closes the pipe without a word."""
    bootstrap.hide_this_process()  # its environment is a worker's
    for name in LOADED:
        importlib.import_module(name)
    line = sys.stdin.readline()
    if line:
        become(Order.read(line))


def become(order: Order) -> None:
    """From here on this process is that service, as if it had been started so."""
    _redirect(order.log)
    # For lists of processes. By way of the thread: the process itself is hidden from its own user.
    with contextlib.suppress(OSError):
        Path("/proc/thread-self/comm").write_text(order.name)
    sys.argv = ["tasks", *order.words]
    runpy.run_module("tasks", run_name="__main__", alter_sys=True)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, targets in ((nothing, (0,)), (output, (1, 2))):
        for target in targets:
            os.dup2(source, target)
        os.close(source)


if __name__ == "__main__":
    main()
