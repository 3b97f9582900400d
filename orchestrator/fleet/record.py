"""The file ``<data_dir>/fleet.json``: who runs, for other commands and for the next supervisor.

The next supervisor ends what a killed one left behind. On Linux the kernel has done so already, as a rule.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.fleet.identity import Machine, ProcessIdentity, machine
from orchestrator.fleet.service import State

LEFTOVER_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One service as recorded: ``pid`` 0 when it does not run; ``starts`` counts its processes so far."""

    name: str
    state: State
    pid: int
    start_ticks: int
    starts: int
    stop_signal: int

    @property
    def identity(self) -> ProcessIdentity | None:
        return ProcessIdentity(self.pid, self.start_ticks) if self.pid else None


@dataclass(frozen=True, slots=True)
class FleetRecord:
    """All services in start order, their supervisor, and the machine on which those pids mean something."""

    machine: Machine
    supervisor: ProcessIdentity
    ready: bool
    services: tuple[Entry, ...]

    def entry(self, name: str) -> Entry | None:
        """The service of that name, or None."""
        return next((entry for entry in self.services if entry.name == name), None)


def record_path(data_dir: Path) -> Path:
    """Where the record of a data directory is."""
    return data_dir / "fleet.json"


def write_record(path: Path, record: FleetRecord) -> None:
    """Replace the file whole: a reader sees the old or the new one."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(record), file, indent=1)
    fresh.replace(path)


def read_record(path: Path) -> FleetRecord | None:
    """The record; None when there is none, or nothing that can be understood."""
    try:
        found = json.loads(path.read_text())
        return FleetRecord(
            machine=Machine(**found["machine"]),
            supervisor=ProcessIdentity(**found["supervisor"]),
            ready=bool(found["ready"]),
            services=tuple(_entry(entry) for entry in found["services"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _entry(found: Mapping[str, object]) -> Entry:
    numbers = {key: int(str(found[key])) for key in ("pid", "start_ticks", "starts", "stop_signal")}
    return Entry(name=str(found["name"]), state=State(str(found["state"])), **numbers)


def end_leftovers(path: Path, report: Callable[[str], None]) -> None:
    """End the recorded services that still live, last started first. Only with the data directory's lock.

    A recorded pid that belongs to another process by now, or was written on another boot or in another
    container, is left alone.
    """
    record = read_record(path)
    if record is None or record.machine != machine():
        return
    _end_all(tuple(reversed(record.services)), report)


def _end_all(entries: Sequence[Entry], report: Callable[[str], None]) -> None:
    for entry in entries:
        identity = entry.identity
        if identity is None or not identity.lives():
            continue
        gone = identity.end(signal.Signals(entry.stop_signal), LEFTOVER_GRACE_S)
        what = "ended" if gone else "could not end"
        report(f"{what} {entry.name} (pid {entry.pid}), left over from a supervisor that was killed")
