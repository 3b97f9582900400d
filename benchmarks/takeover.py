"""How long a killed worker is gone: with a spare that becomes its successor, and without one."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from benchmarks.figure import Figure
from orchestrator.demo.place import free_ports
from orchestrator.fleet import Fleet
from orchestrator.settings import load_settings

# Each is killed once, for the supervisor waits longer each time; one that forks and one with threads on either side.
_WITH_SPARE: Final = ("edges", "sweeps")
_WITHOUT: Final = ("agents", "intake")
_PATIENCE_S: Final = 60.0


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(load_settings(_environ(Path(folder))))
        fleet.start()
        try:
            warm = statistics.mean(_takeover_s(fleet, name, with_spare=True) for name in _WITH_SPARE)
            cold = statistics.mean(_takeover_s(fleet, name, with_spare=False) for name in _WITHOUT)
        finally:
            fleet.stop(grace_s=10.0)
    yield Figure("a killed worker is back, by a spare", warm, "s", limit=2)
    yield Figure("without one it takes", cold / warm, "times as long")


def _environ(folder: Path) -> dict[str, str]:
    web, flower = map(str, free_ports(2))
    ports = {"ORCH_PORT": web, "ORCH_FLOWER_PORT": flower}
    return {"PATH": os.defpath, "HOME": str(folder), "ORCH_DATA_DIR": str(folder / "data"), **ports}


def _takeover_s(fleet: Fleet, name: str, *, with_spare: bool) -> float:
    spare, starts = _spare(fleet), fleet.starts(name)
    if not with_spare:
        os.kill(spare, signal.SIGKILL)
    began = time.perf_counter()
    os.kill(fleet.pids()[name], signal.SIGKILL)
    fleet.wait_restarted(name, starts)
    return time.perf_counter() - began


def _spare(fleet: Fleet) -> int:
    """Its pid, when it has loaded everything: it sleeps then."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        known = set(fleet.pids().values())
        for one in psutil.Process(fleet.pids()["supervisor"]).children():
            if one.pid not in known and _waits(one):
                return one.pid
        time.sleep(0.1)
    raise SystemExit(f"no spare within {_PATIENCE_S:.0f} s")


def _waits(process: psutil.Process) -> bool:
    before = process.cpu_times()
    time.sleep(0.3)
    return bool(process.cpu_times() == before)
