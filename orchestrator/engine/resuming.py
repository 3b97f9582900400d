"""Going on where an earlier run of the same stage was cut off: its CLI's session, with the home that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.domain.configuration import AgentSpec
from orchestrator.domain.views import Outcome
from orchestrator.engine.context import Engine
from orchestrator.store import jobs
from orchestrator.store.jobs import Job

RESUMABLE: Final = frozenset(
    {
        Outcome.INTERRUPTED,
        Outcome.KILLED,
        Outcome.LOST,
        Outcome.TIMED_OUT,
        Outcome.SILENT,
        Outcome.TURN_LIMIT,
        Outcome.QUOTA,
        Outcome.RATE_LIMITED,
        Outcome.OVERLOADED,
    }
)
"""Outcomes after which the agent's own memory of its work is worth keeping. A full context is not: that one begins
anew; neither is a run that came to its end."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A session to go on with, and the directory of the run that has its home."""

    session_id: str
    run_dir: Path


def earlier_session(engine: Engine, job: Job, spec: AgentSpec) -> Earlier | None:
    """The session of the run before this one, where it was cut off, was of this runtime, and is on this node."""
    with engine.store.transaction() as connection:
        run = jobs.run_before(connection, job)
    if run is None or run.outcome not in RESUMABLE:
        return None
    run_dir = engine.runs_dir / run.run_id
    if run.runtime != spec.runtime or run.node != engine.host.node or not (run_dir / "home").is_dir():
        return None
    session_id = engine.agents.so_far(run_dir, run.runtime).session_id
    return None if session_id is None else Earlier(session_id, run_dir)
