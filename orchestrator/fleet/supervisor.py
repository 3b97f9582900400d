"""The loop of `orch up`: start in order, keep alive, stop in order.

Everything happens in one thread, the main one: the kernel's death signal is tied to the thread that starts a
child, and there is no state to lock.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from orchestrator.fleet.errors import FleetError
from orchestrator.fleet.identity import identify, machine
from orchestrator.fleet.log_files import rotate
from orchestrator.fleet.record import FleetRecord, record_path, write_record
from orchestrator.fleet.running import RunningService
from orchestrator.fleet.service import Rank, Service, State
from orchestrator.fleet.spare import Spare
from orchestrator.fleet.stopping import stop_together
from orchestrator.fleet.wakeups import Wakeups

START_ATTEMPTS = 3  # what ends three times while the fleet starts is set up wrongly: say so, do not go on trying
START_LIMIT_S = 600.0  # crash recovery of a large database is the longest honest start
LOG_CHECK_S = 5.0
TICK_CHECK_S = 30.0
STALE_RESTART_PAUSE_S = 120.0


class Supervisor:
    """Runs ``services`` (any order; ranks decide) for ``data_dir``.

    The caller holds the directory's lock and has ended what an earlier supervisor left behind.

    ``report`` gets each line for the operator. ``stale_ticks`` tells whether the periodic work has stopped
    although its processes live (a ``ticks`` row older than three intervals); then the services named in
    ``tick_services`` are restarted. It is called every ``tick_check_s`` seconds in the main thread and must
    return within seconds. ``spare`` is kept from when all is ready, and ended with the fleet.
    """

    def __init__(
        self,
        services: Sequence[Service],
        data_dir: Path,
        report: Callable[[str], None],
        *,
        stale_ticks: Callable[[], bool] | None = None,
        tick_services: Sequence[str] = ("beat", "sweeps"),
        tick_check_s: float = TICK_CHECK_S,
        spare: Spare | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._report = report
        self._stale_ticks = stale_ticks
        self._tick_services = tuple(tick_services)
        self._spare = spare
        ordered = sorted(services, key=lambda service: service.rank)
        self._running = [RunningService(service, data_dir, report, spare) for service in ordered]
        self._record_path = record_path(data_dir)
        self._machine = machine()
        self._ready = False
        self._next_log_check = 0.0
        self._tick_check_s = tick_check_s
        self._next_tick_check = time.monotonic() + tick_check_s

    def run(self, on_ready: Callable[[], None] | None = None) -> int:
        """Start everything, run until a request to stop, stop everything. Returns the exit code.

        0: stopped on request; 1: it did not start; 3: stopped before all was ready. Nothing runs afterwards.
        """
        (self._data_dir / "logs").mkdir(mode=0o700, exist_ok=True)
        with Wakeups() as wakeups:
            try:
                self._start_all(wakeups)
                self._note_ready(wakeups, on_ready)
                self._keep_alive(wakeups)
            except FleetError as error:
                self._report(str(error))
                return 1
            finally:
                was_ready = self._ready
                self._stop_all(wakeups)
        return 0 if was_ready else 3

    def _start_all(self, wakeups: Wakeups) -> None:
        for _rank, members in self._ranks():
            for one in members:
                if not wakeups.stop_requests:
                    one.start()
            self._record()
            self._await(members, wakeups)

    def _await(self, members: Sequence[RunningService], wakeups: Wakeups) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not wakeups.stop_requests and not all(one.state in (State.READY, State.DONE) for one in members):
            for one in members:
                _refuse_hopeless(one, deadline)
            self._look_at_all(wakeups)

    def _note_ready(self, wakeups: Wakeups, on_ready: Callable[[], None] | None) -> None:
        if wakeups.stop_requests:
            return
        self._ready = True
        self._record()
        if on_ready is not None:
            on_ready()

    def _keep_alive(self, wakeups: Wakeups) -> None:
        while not wakeups.stop_requests:
            self._look_at_all(wakeups)
            self._rotate_logs()
            self._restart_stale()
            self._keep_spare()

    def _look_at_all(self, wakeups: Wakeups) -> None:
        # Wait first: each caller has looked just now, and a request to stop must not be slept over.
        wakeups.wait(min(1.0, *(one.next_look_s() for one in self._running)))
        changed = [one.watch() for one in self._running if one.state not in (State.WAITING, State.DONE)]
        if any(changed):
            self._record()

    def _rotate_logs(self) -> None:
        if time.monotonic() < self._next_log_check:
            return
        self._next_log_check = time.monotonic() + LOG_CHECK_S
        for one in self._running:
            rotate(one.log)

    def _restart_stale(self) -> None:
        now = time.monotonic()
        if self._stale_ticks is None or now < self._next_tick_check:
            return
        self._next_tick_check = now + self._tick_check_s
        if not self._stale_ticks():
            return
        self._next_tick_check = now + STALE_RESTART_PAUSE_S
        for one in self._running:
            if one.service.name in self._tick_services and one.alive:
                self._report(f"the periodic work stands still; restarting {one.service.name}")
                one.signal(signal.SIGKILL)  # it hangs: it would not hear anything milder

    def _keep_spare(self) -> None:
        if self._spare is not None and all(one.state in (State.READY, State.DONE) for one in self._running):
            self._spare.keep()

    def _stop_all(self, wakeups: Wakeups) -> None:
        self._ready = False
        if self._spare is not None:
            self._spare.end()
        asked = wakeups.stop_requests
        if asked:
            self._report("stopping; agents go on (ask again to hurry)")
        for _rank, members in reversed(list(self._ranks())):
            stop_together(members, wakeups, self._report, requests_before=max(asked, 1))
            self._record()
        self._report("stopped")

    def _ranks(self) -> Iterator[tuple[Rank, list[RunningService]]]:
        for rank, members in groupby(self._running, key=lambda one: one.service.rank):
            yield rank, list(members)

    def _record(self) -> None:
        own = identify(os.getpid())
        assert own is not None  # we live
        entries = tuple(one.entry() for one in self._running)
        write_record(self._record_path, FleetRecord(self._machine, own, self._ready, entries))


def _refuse_hopeless(one: RunningService, deadline: float) -> None:
    ended_once_too_often = one.failures >= (START_ATTEMPTS if one.service.restart else 1)
    if ended_once_too_often or time.monotonic() > deadline:
        raise FleetError(f"{one.service.name} does not start: {one.last_words}", remedy=f"see {one.log}")
