"""What is known of the deaths of one run's processes: which signals each was sent, and when it was seen dead.

Standard library only, and little of it: the shim imports this module. ``domain.deaths`` reads the lines.
"""

from __future__ import annotations

import signal
import time

from orchestrator.adapters.procfs import Process, has_ended


class Deaths:
    """Processes by identity. A process is kept from the moment that anything is told of it."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Process] = {}
        self._told: dict[tuple[int, int], list[str]] = {}
        self._dead: dict[tuple[int, int], str] = {}

    def know(self, *seen: Process | None) -> None:
        """They belong to the proof, also if they end before anybody looks again."""
        for one in seen:
            if one is not None:
                self._known.setdefault((one.pid, one.start_ticks), one)

    def sent(self, one: Process | None, signum: int) -> None:
        """It was sent that signal now; the same one over and over is told once."""
        if one is not None:
            self.know(one)
            told, name = self._told.setdefault((one.pid, one.start_ticks), []), signal.Signals(signum).name
            if not told or not told[-1].startswith(f"{name} "):
                told.append(f"{name} at {_clock()}")

    def seen_dead(self, one: Process | None) -> None:
        """It was seen dead now; the first time counts."""
        if one is not None:
            self.know(one)
            self._dead.setdefault((one.pid, one.start_ticks), _clock())

    def lines(self) -> list[str]:
        """One for each that is dead, by pid; who is seen so only now is told with this moment."""
        for key, one in self._known.items():
            if has_ended(*key):
                self.seen_dead(one)
        return [self._line(key) for key in sorted(self._dead)]

    def _line(self, key: tuple[int, int]) -> str:
        return f"{self._known[key]}: {', '.join([*self._told.get(key, ()), f'dead at {self._dead[key]}'])}"


def _clock() -> str:
    """Now, in UTC, with milliseconds; the day is that of the record."""
    now = time.time()
    return f"{time.strftime('%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
