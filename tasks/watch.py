"""What the main process of a worker does beside its messages: it sees ended agents on its node and children of its own
that died, which only nudges (the sweeps would find the same a little later), reports its node, and removes what is
left on it: worktrees on which nobody works any more, and the output of runs that are long over.

The report is a matter of each node. A sweep runs on whichever node took its tick: the others would fall silent, and be
declared lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from billiard.exceptions import WorkerLostError
from celery.signals import task_failure, worker_ready, worker_shutting_down

from orchestrator import bootstrap, logs, messages
from orchestrator.domain.stages import Actor
from orchestrator.engine import left_worktrees, nodes, old_runs
from orchestrator.engine.context import Engine
from orchestrator.store import jobs
from tasks.base import engine, settings

_log: Final = logging.getLogger(__name__)
POLL_S: Final = 0.3
"""An ended agent is a matter of people who wait; a look is one listing of a directory."""
AGAIN_S: Final = 5.0
"""A nudge that had no effect yet is sent again; finishing takes some git calls."""
FOREIGN_S: Final = 60.0
"""A run directory without a row belongs to another database; it is looked at again in case the row is late."""
_BROKEN_S: Final = 2.0
LEFT_WORKTREES_S: Final = 15.0
"""A look is one listing of a directory and one query; what is left is wanted by nobody."""
OLD_RUNS_S: Final = 3600.0
"""Runs are kept for days; a listing of all of them an hour costs nothing."""

_stopping: Final = threading.Event()


class FinishedRuns:
    """Says which finished runs are to be nudged now. ``clock`` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._not_before: dict[str, float] = {}

    def due(self, run_dirs: Iterable[Path]) -> list[str]:
        """Run ids to look at now; what was acknowledged since is forgotten."""
        names = [one.name for one in run_dirs]
        self._not_before = {name: moment for name, moment in self._not_before.items() if name in names}
        return [name for name in names if self._clock() >= self._not_before.get(name, 0.0)]

    def looked_at(self, run_id: str, *, known: bool) -> None:
        """Leave this run alone for a while."""
        self._not_before[run_id] = self._clock() + (AGAIN_S if known else FOREIGN_S)


def nudge_finished(found: Engine, runs: FinishedRuns) -> int:
    """Have every ended run of this node finished; how many nudges were sent."""
    sent = 0
    for run_id in runs.due(found.agents.finished()):
        with found.store.transaction() as connection:
            run = jobs.run_by_id(connection, run_id)
            job = None if run is None else jobs.get(connection, run.job_id)
        runs.looked_at(run_id, known=job is not None)
        if job is not None:
            found.nudges.finish_job(found.host.node, job.id, job.work_item)
            sent += 1
    return sent


def _watch_runs() -> None:
    runs = FinishedRuns()
    _again_and_again(POLL_S, "finished runs cannot be looked at", lambda: nudge_finished(engine(), runs))


def _report_node() -> None:
    """In a thread of its own: a node that has to fence itself first takes its time."""
    interval_s = settings().timings.node_report_interval_s
    _again_and_again(interval_s, "this node cannot be reported", lambda: nodes.beat(engine()))


def _forget_old_runs() -> None:
    _again_and_again(OLD_RUNS_S, "old runs cannot be removed", lambda: old_runs.forget_old_runs(engine()))


def _remove_left_worktrees() -> None:
    look = "left worktrees cannot be removed"
    _again_and_again(LEFT_WORKTREES_S, look, lambda: left_worktrees.remove_left_worktrees(engine()))


def _again_and_again(pause_s: float, failure: str, look: Callable[[], object]) -> None:
    """Until the worker stops. What fails (a database that restarts) is tried again soon, for ever."""
    wait_s = 0.0
    while not _stopping.wait(wait_s):
        try:
            look()
            wait_s = pause_s
        except Exception as error:
            _log.warning("%s: %s", failure, logs.masked(str(error)))
            wait_s = _BROKEN_S


@worker_ready.connect
def start_watching(sender: Any, **_given: object) -> None:
    """Only the worker that takes this node's queue watches its runs and reports it."""
    if messages.agents_queue(settings().node) in sender.app.amqp.queues:
        for work in (_watch_runs, _report_node, _forget_old_runs, _remove_left_worktrees):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()


@worker_shutting_down.connect
def stop_watching(**_given: object) -> None:
    _stopping.set()


_lost_at: Final[dict[str, float]] = {}


@task_failure.connect
def nudge_after_lost_child(
    sender: Any, exception: BaseException, kwargs: Mapping[str, Any] | None = None, **_given: object
) -> None:
    """A child died with its message: what it worked on is looked at again at once instead of at the next sweep.

    A message that kills its process each time is left to the sweeps, or it would do nothing else.
    """
    if not isinstance(exception, WorkerLostError) or not kwargs:
        return
    what = f"{sender.name} {dict(kwargs)}"
    again = time.monotonic() - _lost_at.get(what, -AGAIN_S) < AGAIN_S
    _lost_at[what] = time.monotonic()
    _log.warning("the process of %s for %s died", sender.name, kwargs.get("work_item", "?"))
    if again:
        return
    nudges = bootstrap.build_nudges(settings())
    if sender.name == messages.DRIVE:
        nudges.drive(int(kwargs["task_id"]), str(kwargs["work_item"]), Actor.REAPER)
    elif sender.name == messages.FINISH_JOB:
        nudges.finish_job(settings().node, int(kwargs["job_id"]), str(kwargs["work_item"]))
