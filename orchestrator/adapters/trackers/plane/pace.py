"""How fast one API key may be used: its window is the server's, so what the server says of it is kept and obeyed.

Every process has its own ``Pace``; the figure of what is left comes from the server and so counts them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from orchestrator.domain.errors import TransientError

RESERVE: Final = 10
"""Requests of a window that lists must leave: a STOP that somebody writes must not wait for a poll."""
_WINDOW_S: Final = 60.0
_LONGEST_S: Final = 900.0


class Pace:
    """Refuses to send what the server would refuse anyhow. ``clock`` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._closed_until = 0.0
        self._left: int | None = None
        self._left_at = 0.0

    def ask(self, *, may_wait: bool) -> None:
        """Raises TransientError, with the seconds to wait, while the window is closed; for what ``may_wait`` (lists)
        already when little of it is left."""
        with self._lock:
            now = self._clock()
            if now < self._closed_until:
                raise _limited(self._closed_until - now)
            fresh = self._left is not None and now - self._left_at < _WINDOW_S
            if may_wait and fresh and self._left is not None and self._left < RESERVE:
                raise _limited(_WINDOW_S - (now - self._left_at))

    def saw(self, headers: Mapping[str, str]) -> None:
        """An allowed answer: how many requests are left in the window of this key."""
        left = headers.get("x-ratelimit-remaining", "")
        if left.isdigit():
            with self._lock:
                self._left, self._left_at = int(left), self._clock()

    def refused(self, headers: Mapping[str, str]) -> TransientError:
        """A 429: the window is closed for as long as the answer says. The error to raise."""
        try:
            wait_s = min(max(float(headers.get("retry-after", "")), 1.0), _LONGEST_S)
        except ValueError:
            wait_s = _WINDOW_S
        with self._lock:
            self._closed_until = self._clock() + wait_s
            self._left = None
        return _limited(wait_s)


def _limited(wait_s: float) -> TransientError:
    return TransientError(
        f"Plane limits the requests of this key; it goes on in {wait_s:.0f} s",
        remedy="raise API_KEY_RATE_LIMIT of Plane's API, for example to 600/minute",
        retry_after_s=wait_s,
    )
