"""This node's report «I am here», and what follows from silence: others are declared lost, and a node that finds
itself declared lost ends all it runs before it comes back under a new incarnation."""

from __future__ import annotations

import logging
from typing import Final

from orchestrator.domain.errors import TransientError
from orchestrator.domain.ownership import Committed, Lease, LostRace, Owner
from orchestrator.domain.stages import Actor
from orchestrator.domain.views import JobStatus
from orchestrator.engine.context import Engine
from orchestrator.store import counters, jobs, lease_history, leases, nodes
from orchestrator.store.nodes import NameTaken

_log = logging.getLogger(__name__)
_KILL_S: Final = 10.0
_REPORTS_MISSED: Final = 3


def beat(engine: Engine) -> str:
    """Report this node, or fence it when it was declared lost; then declare silent nodes lost. What was done, in a
    word. Every node has to do this every ``node_report_interval_s``: one that does not is taken for lost."""
    with engine.store.transaction(Actor.REAPER) as connection:
        here = nodes.seen(connection, engine.host)
        known = any(one.node == engine.host.node for one in nodes.all_nodes(connection))
    done = "node seen" if isinstance(here, Committed) else _come_back(engine, known=known)
    with engine.store.transaction(Actor.REAPER) as connection:
        lost = nodes.declare_lost(connection, engine.timings.node_lost_s)
        if lost:
            counters.add(connection, "nodes_lost_total", by=len(lost))
    if lost:
        _log.error("declared lost after %s s of silence: %s", engine.timings.node_lost_s, ", ".join(lost))
    return done


def _come_back(engine: Engine, *, known: bool) -> str:
    """Others count this node's processes as dead: only when that is true may it be seen again. A node that has no
    row yet (its start met no database) was never counted as dead by anybody."""
    left = fence(engine) if known else []
    if left:
        _log.error("this node was declared lost and cannot end: %s", "; ".join(left))
        return "node not fenced"
    fresh_s = engine.timings.node_report_interval_s * _REPORTS_MISSED
    with engine.store.transaction(Actor.REAPER) as connection:
        found = nodes.register(connection, engine.host, fresh_s=fresh_s)
    if isinstance(found, NameTaken):
        _log.error("another machine has the name %s: give this one a name of its own in ORCH_NODE", engine.host.node)
        return "node name taken"
    return "node registered"


def fence(engine: Engine) -> list[str]:
    """End every agent and every edge of this node and see them dead; what could not be ended."""
    left = [*_end_runs(engine), *_end_edges(engine), *_end_overtaken(engine)]
    _log.warning("this node is fenced: %s", "all it ran is dead" if not left else "; ".join(left))
    return left


def _end_runs(engine: Engine) -> list[str]:
    with engine.store.transaction() as connection:
        running = [job for job in jobs.live(connection) if job.status is JobStatus.RUNNING and job.exited_at is None]
        runs = [jobs.newest_run(connection, job.id) for job in running]
    left = []
    for run in runs:
        if run is None or run.node != engine.host.node or not (engine.runs_dir / run.run_id).exists():
            continue
        try:
            engine.agents.stop(engine.runs_dir / run.run_id, engine.timings.stop_grace_s)
        except TransientError as error:
            left.append(error.message)
    return left


def _end_edges(engine: Engine) -> list[str]:
    with engine.store.transaction() as connection:
        held = leases.held_leases(connection)
    return [what for lease in held if _is_here(engine, lease.owner) for what in _end_edge(engine, lease)]


def _end_overtaken(engine: Engine) -> list[str]:
    """An owner whose lease was taken over while this node was lost holds nothing any more, and works all the same."""
    with engine.store.transaction() as connection:
        found = lease_history.overtaken_on(connection, engine.host)
    left = []
    for one in found:
        if one.owner == engine.owner():
            continue
        if not engine.host.kill(one.owner, _KILL_S):
            left.append(f"edge {one.edge} of task {one.task_id} ({one.owner}), which was taken over")
        elif one.child is not None and not engine.host.kill_group(one.child.pgid, _KILL_S, one.child.start_ticks):
            left.append(f"the command of task {one.task_id} (group {one.child.pgid}), which was taken over")
    return left


def _is_here(engine: Engine, owner: Owner | None) -> bool:
    here = engine.host
    return owner is not None and owner.node == here.node and owner.boot_id == here.boot_id


def _end_edge(engine: Engine, lease: Lease) -> list[str]:
    """The owner first, which could start another command; then its command; then nobody may think that it holds."""
    owner, child = lease.owner, lease.child
    assert owner is not None, "a held lease names its owner"
    if owner == engine.owner() or not engine.host.kill(owner, _KILL_S):
        return [f"edge {lease.edge} of task {lease.task_id} ({owner})"]
    if child is not None and not engine.host.kill_group(child.pgid, _KILL_S, child.start_ticks):
        return [f"the command of task {lease.task_id} (group {child.pgid})"]
    why = f"owner {owner} is dead: its node was declared lost"
    with engine.store.transaction(Actor.REAPER) as connection:
        freed = leases.force_release(connection, lease.task_id, why=why, epoch=lease.epoch)
    if isinstance(freed, LostRace):
        _log.info("the lease of task %s was taken over meanwhile", lease.task_id)
    return []
