"""Nothing of a demo stays behind: agents, deployers and services outlive the fleet by design, so this ends them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from orchestrator.demo.place import MARKER, Place
from orchestrator.fleet.identity import ProcessIdentity, identify

_GRACE_S: Final = 1.0
_STORES: Final = ("postgres", "valkey-server")
"""The stores get no environment of ours; their command lines name their directories."""
_ROUNDS: Final = 5
"""What is ended may be starting something at that moment, which the next round finds."""


def end_leftovers(place: Place) -> list[str]:
    """End every process of this demo and see it gone; what still lived after all rounds, by name."""
    for _ in range(_ROUNDS):
        living = list(processes_of(place))
        if not living:
            return []
        for number in (signal.SIGTERM, signal.SIGKILL):
            for one, _name in living:
                one.send(number)
            _await_end([one for one, _name in living])
    return [f"{name} ({one.pid})" for one, name in processes_of(place)]


def _await_end(ended: list[ProcessIdentity]) -> None:
    deadline = time.monotonic() + _GRACE_S
    while any(one.lives() for one in ended) and time.monotonic() < deadline:
        time.sleep(0.02)


def processes_of(place: Place) -> Iterator[tuple[ProcessIdentity, str]]:
    """Processes that this demo's fleet, agents or deployments started, with their names; never this one."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != psutil.Process().pid and _is_of(process, place):
                found = identify(process.pid)
                if found is not None:
                    yield found, " ".join(process.cmdline()[:4])


def _is_of(process: psutil.Process, place: Place) -> bool:
    environment = process.environ()
    if environment.get(MARKER) == str(place.world) or environment.get("ORCH_DATA_DIR") == str(place.data_dir):
        return True
    words = process.cmdline()
    if process.name() in _STORES and any(f"{place.data_dir}/" in word for word in words):
        return True
    # A deploy command gets nothing of ours in its environment, and a service stands in its release.
    return str(place.services) in words or Path(process.cwd()).is_relative_to(place.services)
