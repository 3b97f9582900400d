"""Watches the budgets of the runs on this node, in the main process of the worker that takes the node's queue."""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from celery.signals import worker_ready, worker_shutting_down

from orchestrator import logs, messages
from orchestrator.engine.budgets import end_runs_over_budget
from tasks.base import engine, settings

_log: Final = logging.getLogger(__name__)
LOOK_S: Final = 15.0
"""An agent spends cents in this time; reading the streams of all runs costs some milliseconds each."""

_stopping: Final = threading.Event()


def _watch() -> None:
    while not _stopping.wait(LOOK_S):
        try:
            end_runs_over_budget(engine())
        except Exception as error:
            _log.warning("budgets cannot be looked at: %s", logs.masked(str(error)))


@worker_ready.connect
def start_watching(sender: Any, **_given: object) -> None:
    """Only the worker that takes this node's queue watches its runs."""
    if messages.agents_queue(settings().node) in sender.app.amqp.queues:
        threading.Thread(target=_watch, name="watch-budgets", daemon=True).start()


@worker_shutting_down.connect
def stop_watching(**_given: object) -> None:
    _stopping.set()
