"""Owners of leases and launchers of runs, alive and dead, as rows and processes of an engine's test."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.adapters import procfs
from orchestrator.domain.ownership import HeldLease, Owner
from orchestrator.engine import intake
from orchestrator.store import jobs, leases
from orchestrator.store.jobs import NewRun
from tests.engine.real_engine import World


def owner_of(world: World, pid: int) -> Owner:
    """The identity of a process that runs now."""
    seen = procfs.look(pid)
    assert seen is not None
    return replace(world.engine.owner(), pid=pid, start_ticks=seen.start_ticks)


def dead(world: World) -> Owner:
    """This process's pid with older start ticks: the number was given to somebody else."""
    me = world.engine.owner()
    return replace(me, start_ticks=me.start_ticks - 1)


def acquire(world: World, task: int, owner: Owner) -> HeldLease:
    """The task's lease in the hands of ``owner``."""
    with world.engine.store.transaction("monitor") as connection:
        held = leases.acquire(connection, task, leases.Entry("testing", "monitor", owner), world.engine.host)
    assert isinstance(held, HeldLease)
    return held


def running_job(world: World, launcher: Owner, shim: Owner | None = None) -> int:
    """An item in analysis whose agent was begun by ``launcher``."""
    intake.add_item(world.engine, "DEMO", "Add a value", author="ann", key="DEMO-1")
    world.nudges.held.clear()
    with world.engine.store.transaction() as connection:
        job = jobs.live(connection)[0]
        run = NewRun("r1", 0, "command", "here", str(world.engine.runs_dir / "r1"), "", launcher)
        jobs.begin(connection, job.id, run)
        if shim is not None:
            jobs.adopt_run(connection, "r1", shim)
    return job.id
