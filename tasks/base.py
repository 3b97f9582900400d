"""What every Celery task here has: the engine of its process, and failures that are counted."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar

from celery import Task
from celery.exceptions import WorkerLostError

from orchestrator.embedded.reachable import with_stores
from orchestrator.engine.context import Engine
from orchestrator.settings import Settings, load_settings
from orchestrator.store import counters, ticks

_log: Final = logging.getLogger(__name__)
_building: Final = threading.Lock()
_built: Final[dict[int, Engine]] = {}

Summary = TypeVar("Summary")


@cache
def settings() -> Settings:
    """Settings of this process and its children."""
    return with_stores(load_settings())


def engine() -> Engine:
    """The engine of this process, built at the first message: a forked child must not share its parent's connections,
    and the start of a child must do no I/O (a slow one is killed, for ever)."""
    with _building:
        found = _built.get(os.getpid())
        if found is None:
            found = _built[os.getpid()] = _build()
        return found


def _build() -> Engine:
    from orchestrator import bootstrap

    return bootstrap.build_engine(settings(), bootstrap.build_nudges(settings()))


# A child of a thread that was building would wait for the lock for ever.
os.register_at_fork(after_in_child=lambda: _building.release() if _building.locked() else None)


class EngineTask(Task):
    """Base class of all Celery tasks. A failure is logged by Celery, with its traceback, and counted here."""

    abstract = True
    ignore_result = True

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Count it. The rows stay as they are: the next nudge or sweep tries again."""
        if isinstance(exc, WorkerLostError):
            return  # told by the parent, which must not wait for a database
        try:
            with engine().store.transaction() as connection:
                counters.add(connection, "task_failures_total", str(self.name))
        except Exception:
            _log.exception("a failure of %s could not be counted", self.name)


def sweep(name: str, run: Callable[[Engine], Summary], *, enabled: bool = True) -> None:
    """One pass of a sweep, unless another one of this name is on. When and how it ended becomes a row.

    ``enabled``: its switch in the settings; off is told by that row too, so that nobody takes silence for health.
    """
    found = engine()
    with ticks.only_one(found.store, name) as alone:
        if not alone:
            return
        if not enabled:
            _record(found, name, ok=False, note="switched off by the settings")
            return
        with found.store.transaction() as connection:
            ticks.began(connection, name)
        try:
            summary = run(found)
        except Exception as error:
            _record(found, name, ok=False, note=f"{type(error).__name__}: {error}")
            raise
        _record(found, name, ok=True, note=str(summary))


def _record(found: Engine, name: str, *, ok: bool, note: str) -> None:
    with found.store.transaction() as connection:
        ticks.record(connection, name, ok=ok, note=note)
