"""What the newest agent run of an item says: the end of its output, as far as it lies on this node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator import logs
from orchestrator.domain.errors import OrchestratorError
from orchestrator.store import jobs
from web.parts import parts, reading

_BYTES: Final = 64 * 1024
"""Of the stream: some hundred events, and a page that is quick also when it is asked for every two seconds."""
_LINES: Final = 300


@dataclass(frozen=True, slots=True)
class Output:
    """``lines``: the last ones, oldest first, with every known secret masked. ``elsewhere``: the other node that has
    the run. ``goes_on``: it has not ended, so more may come."""

    run_id: str = ""
    lines: tuple[str, ...] = ()
    elsewhere: str = ""
    goes_on: bool = False


def newest(task_id: int, *, raw: bool = False) -> Output:
    """The newest run's; without lines where they cannot be had."""
    with reading() as connection:
        run = jobs.newest_run_of_task(connection, task_id)
    if run is None:
        return Output()
    goes_on = run.exited_at is None
    if run.node != parts().settings.node:
        return Output(run.run_id, elsewhere=run.node, goes_on=goes_on)
    try:
        engine = parts().engine
        found, _ = engine.agents.lines(engine.runs_dir / run.run_id, run.runtime, -_BYTES, raw=raw)
    except OrchestratorError as error:  # a broken configuration must not take the page away
        return Output(run.run_id, (error.message,), goes_on=goes_on)
    lines = [line for one in found for line in one.splitlines()]
    return Output(run.run_id, tuple(logs.masked(line) for line in lines[-_LINES:]), goes_on=goes_on)
