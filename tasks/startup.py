"""What a worker does once at its start: logging, its node's registration, and the leases of dead owners."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Final

from celery.signals import beat_init, setup_logging, worker_init
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from orchestrator import bootstrap, logs
from orchestrator.domain.ownership import Probe
from orchestrator.domain.stages import Actor
from orchestrator.store import leases, nodes, tasks
from orchestrator.store.database import Store, connect_briefly
from orchestrator.store.nodes import NameTaken
from tasks.base import settings

_log: Final = logging.getLogger(__name__)
_REPORTS_MISSED: Final = 3
"""A node that reported within so many intervals is there: another boot under its name may be another machine."""
_LOOK_S: Final = 0.5


@setup_logging.connect
def set_up_logging(**_given: object) -> None:
    """Take logging out of Celery's hands: one masked line a record, here as everywhere."""
    bootstrap.hide_this_process()
    found = settings()
    logs.set_up(level=found.log_level, style=found.log_format, secrets=found.secret_values())
    for warning in found.warnings:
        _log.warning("%s", warning)


@beat_init.connect
def say_that_beat_runs(**_given: object) -> None:
    _log.info("beat runs")


@worker_init.connect
def start_here(**_given: object) -> None:
    """Before the pool is made. Without a database the worker starts all the same: sweeps do this again and again."""
    found = settings()
    store = connect_briefly(found.database_url or "")
    probe = bootstrap.build_host(found, store)
    try:
        register(store, probe, fresh_s=found.timings.node_report_interval_s * _REPORTS_MISSED)
        freed = recover(store, probe)
    except OperationalError as error:
        _log.warning("the database does not answer at the start: %s", logs.masked(str(error.orig)))
        return
    nudges = bootstrap.build_nudges(found)
    for task_id, work_item in freed:
        nudges.drive(task_id, work_item, Actor.REAPER)


def register(store: Store, probe: Probe, *, fresh_s: float) -> None:
    """Raises SystemExit when another machine has this node's name: each would take the other's owners for dead.

    A row of another boot that was seen a moment ago is either that, or this machine before a fast reboot. Only another
    machine goes on to report: so wait for its next report, at most until the row is no longer fresh.
    """
    taken = _registered(store, probe, fresh_s)
    if taken is None:
        return
    _log.warning("%s was seen in another boot a moment ago: waiting whether it reports again", probe.node)
    seen = taken.last_seen_at
    while taken is not None and taken.last_seen_at == seen:
        time.sleep(_LOOK_S)
        taken = _registered(store, probe, fresh_s)
    if taken is not None:
        raise SystemExit(
            f"ORCH_NODE: another machine called {probe.node!r} was seen at {taken.last_seen_at:%H:%M:%S} UTC: give "
            f"this one a name of its own"
        )


def _registered(store: Store, probe: Probe, fresh_s: float) -> NameTaken | None:
    """One try; who is in the way, if anybody is."""
    with store.transaction() as connection:
        if _was_declared_lost(connection, probe):
            # Its processes count as dead elsewhere: the reaper ends them all before the node comes back.
            _log.error("this node was declared lost; it is fenced before it works again")
            return None
        found = nodes.register(connection, probe, fresh_s=fresh_s)
    return found if isinstance(found, NameTaken) else None


def _was_declared_lost(connection: Connection, probe: Probe) -> bool:
    """In this boot: after a reboot nothing of it can live any more."""
    here = [one for one in nodes.all_nodes(connection) if one.node == probe.node and one.boot_id == probe.boot_id]
    return any(one.lost_at is not None for one in here)


def recover(store: Store, probe: Probe) -> Iterable[tuple[int, str]]:
    """Free what dead owners held, so that a reboot frees everything at once; (task id, work item) of each."""
    with store.transaction(Actor.REAPER) as connection:
        freed = leases.recover_on_startup(connection, probe)
        found = [tasks.get(connection, task_id) for task_id in freed]
    if freed:
        _log.info("freed the leases of dead owners of tasks %s", ", ".join(map(str, freed)))
    return [(task.id, task.work_item) for task in found if task is not None]
