"""One run: start, disturb, let it come to rest, judge, clean up."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos import judge, victims
from tests.chaos.adversary import Adversary
from tests.chaos.arena import Arena, runs_of
from tests.chaos.load import Load
from tests.chaos.machine import OwnMachine
from tests.chaos.observer import Observer
from tests.chaos.plan import plan_faults
from tests.chaos.report import Report

_TICK_S: Final = 0.05
_REST_S: Final = 240.0
"""How long everything may take to come to rest, and as much again for each item that is still on its way."""
_REST_OF_ITEM_S: Final = 45.0
_STILL_S: Final = 4.0
"""At rest for two sweeps of each kind: nothing moves any more."""
_DISK_BYTES: Final = 32 * 1024 * 1024
_DISK_BYTES_A_MINUTE: Final = 3 * 1024 * 1024
_LEAVE_S: Final = 20.0
_RETURN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """``data_dir`` is empty or not there; it stays."""

    seed: int
    minutes: float
    data_dir: Path


def run(options: Options, say: Callable[[str], None]) -> Report:
    """The whole run. Whatever happens, also on KeyboardInterrupt, nothing that was started runs afterwards."""
    machine = OwnMachine()
    machine.enter(options.data_dir.with_name(f"{options.data_dir.name}.boot_id"))
    arena = Arena(options.data_dir, say)
    try:
        disk_bytes = _DISK_BYTES + int(options.minutes * _DISK_BYTES_A_MINUTE)
        machine.mount_disk(runs_of(options.data_dir), disk_bytes)
        arena.start()
        return _Run(options, arena, machine, say).whole()
    finally:
        for left in arena.end():
            say(f"still running: {left}")
        _keep_runs(options.data_dir, machine)
        machine.leave()


def _keep_runs(data_dir: Path, machine: OwnMachine) -> None:
    """The little disk goes with this process: what is on it belongs to the evidence."""
    if not machine.problem:
        shutil.copytree(runs_of(data_dir), data_dir / "runs.kept", symlinks=True, ignore_dangling_symlinks=True)
        machine.unmount(runs_of(data_dir))


class _Run:
    def __init__(self, options: Options, arena: Arena, machine: OwnMachine, say: Callable[[str], None]) -> None:
        self._options, self._arena, self._machine, self._say = options, arena, machine, say
        self._observer = Observer(arena)
        self._load = Load(arena, options.seed, say)
        plan = plan_faults(options.seed, options.minutes)
        self._adversary = Adversary(arena, machine, self._observer, plan, say)
        self._began = time.monotonic()
        self._loads: list[float] = []

    def whole(self) -> Report:
        self._disturb()
        rest_s = self._come_to_rest()
        self._second_machine_returns()
        found = [*self._observer.problems, *judge.violations(self._arena, self._load)]
        found += self._adversary.webhooks.problems()
        items = Counter(str(row.state) for row in self._load.rows)
        self._arena.stop()
        found += self._left_over()
        return Report(
            seed=self._options.seed,
            minutes=self._options.minutes,
            seconds=time.monotonic() - self._began,
            rest_s=rest_s,
            faults=dict(self._adversary.done),
            not_done=tuple(self._adversary.not_done),
            items=dict(items),
            takeovers=tuple(self._observer.takeovers),
            relaunches=tuple(self._arena.relaunches),
            notes=tuple(self._notes()),
            violations=tuple(found),
            load=sum(self._loads) / max(1, len(self._loads)) / judge.processors(),
            data_dir=str(self._options.data_dir),
        )

    def _disturb(self) -> None:
        """Faults at their times, until the minutes are over."""
        self._adversary.begin()
        end = time.monotonic() + self._options.minutes * 60
        while time.monotonic() < end:
            self._adversary.tick()
            self._tick()
        self._say("the faults are over")
        self._adversary.end()

    def _tick(self) -> None:
        self._load.tick()
        self._observer.tick()
        self._arena.keep_up()
        self._loads.append(os.getloadavg()[0])
        time.sleep(_TICK_S)

    def _come_to_rest(self) -> float:
        """Seconds until everything rested; bounded. No new item comes, nothing is disturbed."""
        began = time.monotonic()
        self._load.open = False
        moving = len(self._load.restless())
        deadline = began + _REST_S + _REST_OF_ITEM_S * moving
        rested_at: float | None = None
        while time.monotonic() < deadline:
            self._tick()
            if not (self._load.at_rest() and not self._observer.waits and self._arena.fleet.ready()):
                rested_at = None
            elif rested_at is None:
                rested_at = time.monotonic()
            elif time.monotonic() - rested_at > _STILL_S:
                break
        self._adversary.webhooks.wait()
        self._observer.close()
        return time.monotonic() - began

    def _second_machine_returns(self) -> None:
        """Nobody can end what runs on a machine that is declared lost: when it comes back, it has to do so itself.
        What it does not end is found as left over. A machine on which nothing runs may stay away."""
        left = victims.leftovers(self._arena.second_place)
        if not left:
            return
        self._say(f"the second fleet comes back, to end what it left: {'; '.join(left.values())}")
        self._arena.start_second()
        deadline = time.monotonic() + _RETURN_S
        while left.keys() & victims.leftovers(self._arena.second_place).keys() and time.monotonic() < deadline:
            self._tick()

    def _left_over(self) -> list[str]:
        """Processes that the fleet should have ended, or that should have ended by themselves."""
        deadline = time.monotonic() + _LEAVE_S
        places = (self._arena.place, self._arena.second_place)
        while (left := victims.leftovers(*places)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [f"I16: left over: {one}" for one in left.values()]

    def _notes(self) -> list[str]:
        notes = [f"{count} x {what}" for what, count in judge.errors(self._options.data_dir).most_common(12)]
        if self._machine.problem:
            notes.append(f"no reboot and no full disk: {self._machine.problem}")
        return notes
