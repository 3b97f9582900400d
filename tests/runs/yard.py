"""A real fleet whose agents wait until they are told, and what a test sees of their shims and rows."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from resource import getpagesize
from typing import Any, Final

from sqlalchemy.exc import DBAPIError

from orchestrator.adapters.celery_nudges import CeleryNudges, producer
from orchestrator.bootstrap import build_engine
from orchestrator.demo.leftovers import end_leftovers
from orchestrator.demo.place import MARKER, Place, demo_settings, make_place
from orchestrator.demo.project import make_project
from orchestrator.demo.story import PROJECT
from orchestrator.domain.stages import AGENT_STAGES
from orchestrator.embedded.reachable import with_stores
from orchestrator.engine import intake
from orchestrator.engine.context import Engine
from orchestrator.fleet import Fleet
from orchestrator.fleet.identity import identify
from orchestrator.settings import Settings

AGENT: Final = Path(__file__).parent / "waiting_agent.py"
_LONG: Final = {"ORCH_REAPER_MAX_RUNNING_S": "3600"}
"""Agents wait for minutes here, and none is to be taken for one that hangs."""


@dataclass(frozen=True, slots=True)
class Start:
    """What an agent said of itself when it started."""

    item: str
    stage: str
    run_id: str
    pid: int


@dataclass(frozen=True, slots=True)
class ShimMemory:
    """Memory of one shim in KiB. ``rss``: all of it, pages that it shares included; ``pss``: those divided by their
    number of users; ``private``: what the machine gets back when it ends."""

    rss: int
    pss: int
    private: int

    @classmethod
    def of(cls, pid: int) -> ShimMemory:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except PermissionError:  # shims hide themselves from everybody but root; these two figures do not
            pages = [int(one) * getpagesize() // 1024 for one in Path(f"/proc/{pid}/statm").read_text().split()]
            return cls(pages[1], pages[1] - pages[2], pages[1] - pages[2])
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return cls(sizes["Rss"], sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"])


class Yard:
    """A fleet on a place of its own. Only in the main thread: fleets die with the thread that started them."""

    def __init__(self, data_dir: Path, *, runs: int, say: Callable[[str], None] = print) -> None:
        self.place = make_place(data_dir, None)
        make_project(self.place)
        write_config(self.place, self.place.repository, runs)
        self.settings = demo_settings(self.place, _LONG)
        self.fleet = Fleet(self.settings, say)
        self.engine = engine_of(self.settings)

    def rows(self, statement: str, *values: object, patience_s: float = 60.0) -> list[tuple[Any, ...]]:
        return rows_of(self.engine, statement, *values, patience_s=patience_s)

    def add(self, title: str) -> str:
        return intake.add_item(self.engine, PROJECT, title, author="ann")

    def go(self, item: str = "") -> None:
        """Tell one agent to work on, or all of them."""
        (self.place.cues / (f"{item}.go" if item else "go")).touch()

    def starts(self) -> list[Start]:
        return starts_in(self.place.cues)

    def shims(self) -> dict[str, tuple[int, int]]:
        """Pid and start ticks of every shim that lives, by run."""
        return living_shims(self.place.data_dir)


def starts_in(cues: Path) -> list[Start]:
    """Every start of an agent so far."""
    try:
        return [Start(**json.loads(line)) for line in (cues / "starts").read_text().splitlines()]
    except FileNotFoundError:
        return []


def living_shims(data_dir: Path) -> dict[str, tuple[int, int]]:
    """Pid and start ticks of every shim that lives, by run."""
    found = {}
    for file in (data_dir / "runs").glob("*/shim.json"):
        stored = json.loads(file.read_text())
        seen = identify(stored["pid"])
        if seen is not None and seen.start_ticks == stored["start_ticks"]:
            found[file.parent.name] = (seen.pid, seen.start_ticks)
    return found


def rows_of(engine: Engine, statement: str, *values: object, patience_s: float = 60.0) -> list[tuple[Any, ...]]:
    """Rows, asked again while the database is away."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with engine.store.transaction() as connection:
                return [tuple(row) for row in connection.exec_driver_sql(statement, values)]
        except DBAPIError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.2)


def engine_of(settings: Settings) -> Engine:
    usable = with_stores(settings)
    assert usable.broker_url is not None
    return build_engine(usable, CeleryNudges(producer(usable.broker_url)), pool_size=2)


def write_config(place: Place, repository: Path, runs: int, stages: Sequence[str] = tuple(AGENT_STAGES)) -> None:
    """``orchestrator.yml`` with room for so many agents at once."""
    spec = {
        "command": [sys.executable, "-I", str(AGENT), "STAGE", str(place.cues)],
        "wall_clock_s": 3600,
        "silence_s": 3600,
        "environment": {MARKER: str(place.world)},
        "sandbox": "off",
    }
    agents = "\n".join(f"      {stage}: {json.dumps(spec).replace('STAGE', stage)}" for stage in stages)
    place.config.write_text(
        f"""\
projects:
  - key: {PROJECT}
    repository: {json.dumps(str(repository))}
    concurrency: {runs}
    limits: {{runs_per_project: {runs}, runs_per_node: {runs}}}
    agents:
{agents}
"""
    )


@contextmanager
def yard(data_dir: Path, *, runs: int) -> Iterator[Yard]:
    """A yard whose fleet is up; nothing of it runs afterwards."""
    made = Yard(data_dir, runs=runs)
    try:
        made.fleet.start()
        yield made
        made.fleet.stop(grace_s=10.0)
    finally:
        made.fleet.kill()
        made.engine.store.engine.dispose()
        left = end_leftovers(made.place)
        assert left == []


def kill_nine(fleet: Fleet, kinds: Sequence[str], turn: int) -> str | None:
    """SIGKILL the first of ``kinds`` that lives now, from place ``turn`` on: its name, None when none lives."""
    pids = fleet.pids()
    for step in range(len(kinds)):
        kind = kinds[(turn + step) % len(kinds)]
        pid = pids.get(kind)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            return kind
    return None
