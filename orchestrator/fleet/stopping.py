"""Stop services that belong together: politely, then in a hurry, then by force."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence

from orchestrator.fleet.running import RunningService
from orchestrator.fleet.wakeups import Wakeups

_POLL_S = 0.2  # the end of a child wakes us; this only bounds a lost wake-up
_REMIND_S = 15.0


class _Stop:
    """Where one service stands on its way down."""

    def __init__(self, running: RunningService, report: Callable[[str], None]) -> None:
        self._running = running
        self._service = running.service
        self._report = report
        self._hurried = False
        self._killed = False
        self._deadline = time.monotonic() + self._service.grace_s
        running.signal(self._service.stop_signal)

    @property
    def name(self) -> str:
        return self._service.name

    def advance(self, requests: int) -> bool:
        """Go on with it; True when it is gone. ``requests``: further requests to stop since it began."""
        if self._running.is_gone():
            return True
        late = time.monotonic() > self._deadline
        if not self._hurried and (late or requests >= 1):
            self._hurry(late)
        elif not self._killed and (late or requests >= 2):
            self._kill()
        return False

    def _hurry(self, late: bool) -> None:
        self._hurried = True
        if self._service.hurry_signal is None:
            # Nothing milder is left; on a mere second request it still gets its grace.
            if late:
                self._kill()
            return
        self._report(f"{self.name}: stopping without waiting for its work")
        self._deadline = time.monotonic() + self._service.hurry_grace_s
        self._running.signal(self._service.hurry_signal)

    def _kill(self) -> None:
        self._killed = True
        self._report(f"{self.name} does not stop: killed")
        self._running.signal(signal.SIGKILL)


def stop_together(
    members: Sequence[RunningService], wakeups: Wakeups, report: Callable[[str], None], *, requests_before: int
) -> None:
    """Stop all ``members`` at once and return when every one is gone.

    ``requests_before``: requests to stop that led here; each further one hurries.
    """
    stops = [_Stop(one, report) for one in members]
    remind_at = time.monotonic() + _REMIND_S
    while True:
        further = wakeups.stop_requests - requests_before
        stops = [stop for stop in stops if not stop.advance(further)]
        if not stops:
            return
        if time.monotonic() > remind_at:
            remind_at = time.monotonic() + _REMIND_S
            report(f"waiting for the work of {', '.join(stop.name for stop in stops)} (Ctrl-C again to hurry)")
        wakeups.wait(_POLL_S)
