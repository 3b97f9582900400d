"""Which process a fault is meant for at this moment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import text

from orchestrator.demo.leftovers import processes_of
from orchestrator.demo.place import Place
from orchestrator.domain.ownership import Lease
from orchestrator.embedded.places import places
from orchestrator.fleet.identity import ProcessIdentity, identify
from orchestrator.store import leases
from tests.chaos.arena import Arena


@dataclass(frozen=True, slots=True)
class Victim:
    """What is to be hit. ``name`` is a service, or what it is; ``leases`` are those that its processes hold; ``row`` is
    the run or deployment it works for."""

    name: str
    processes: tuple[ProcessIdentity, ...]
    leases: tuple[Lease, ...] = ()
    row: int | str = 0

    @property
    def pids(self) -> str:
        return ", ".join(str(one.pid) for one in self.processes)


def find(arena: Arena, target: str, pick: int) -> Victim | None:
    """A living victim of that kind; None when there is none now. Raises DBAPIError while the database is away."""
    match target:
        case "shim" | "agent":
            return _of_a_run(arena, target, pick)
        case "deployer":
            return _deployer(arena, pick)
        case "edges.child" | "agents.child":
            return _child(arena, target.partition(".")[0], pick)
        case _:
            return _service(arena, target)


def _service(arena: Arena, name: str) -> Victim | None:
    """The parent first: it must not get the time to start children anew."""
    pids = [pid for one, pid in arena.fleet.pids().items() if one.partition(".")[0] == name]
    family = tuple(one for one in map(identify, pids) if one is not None)
    return Victim(name, family, _held_by(arena, family)) if family else None


def _child(arena: Arena, service: str, pick: int) -> Victim | None:
    """One that owns a transition where there is one."""
    pids = [pid for one, pid in arena.fleet.pids().items() if one.startswith(f"{service}.")]
    family = [one for one in map(identify, pids) if one is not None]
    owners = [one for one in family if _held_by(arena, [one])]
    chosen = owners or family
    if not chosen:
        return None
    victim = chosen[pick % len(chosen)]
    return Victim(f"{service}.child", (victim,), _held_by(arena, [victim]))


def _held_by(arena: Arena, family: Sequence[ProcessIdentity]) -> tuple[Lease, ...]:
    pids = {(one.pid, one.start_ticks) for one in family}
    with arena.store.transaction() as connection:
        held = leases.held_leases(connection)
    return tuple(one for one in held if one.owner is not None and (one.owner.pid, one.owner.start_ticks) in pids)


def _of_a_run(arena: Arena, target: str, pick: int) -> Victim | None:
    found = sorted(_living_runs(arena.runs, target), key=lambda one: one[0])
    if not found:
        return None
    run_id, process = found[pick % len(found)]
    return Victim(target, (process,), row=run_id)


def _living_runs(runs: Path, target: str) -> Iterator[tuple[str, ProcessIdentity]]:
    for record in runs.glob("*/shim.json"):
        if (record.parent / "exit.json").exists():
            continue
        written = json.loads(record.read_text())
        process = identify(int(written["pid"] if target == "shim" else written["agent_pgid"]))
        if process is not None:
            yield record.parent.name, process


def _deployer(arena: Arena, pick: int) -> Victim | None:
    with arena.store.transaction() as connection:
        rows = connection.execute(
            text("SELECT id, owner_pid FROM deployments WHERE status = 'running' ORDER BY id")
        ).all()
    if not rows:
        return None
    row = rows[pick % len(rows)]
    process = identify(int(row.owner_pid))
    return None if process is None else Victim("deployer", (process,), row=int(row.id))


def machine(arena: Arena) -> list[ProcessIdentity]:
    """Everything that a reboot ends, supervisors first. What is deployed stands for other machines."""
    found = [*_of_fleets(arena)]
    for place in (arena.place, arena.second_place):
        found += [one for one, words in processes_of(place) if "service.py" not in words]
    return list(dict.fromkeys(found))


def _of_fleets(arena: Arena) -> Iterator[ProcessIdentity]:
    """Also the backends of Postgres, whose command lines name nothing: they stand in its data directory."""
    pids = [pid for fleet in arena.fleets() for pid in fleet.pids().values()]
    data = places(arena.place.data_dir).postgres_data
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "postgres" and Path(process.cwd()) == data:
                pids.append(process.pid)
    yield from (one for one in map(identify, pids) if one is not None)


def leftovers(*where: Place) -> dict[tuple[int, int], str]:
    """What runs there although the fleets have stopped, deployed services aside: pid and start, and its words."""
    found = {}
    for place in where:
        for one, words in processes_of(place):
            if "service.py" not in words and psutil.pid_exists(one.pid):
                found[one.pid, one.start_ticks] = f"{words} ({one.pid})"
    return found
