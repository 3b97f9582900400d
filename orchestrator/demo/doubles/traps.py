"""Failures that a test or the demo orders, by request count: what a server, a proxy or a line does to one request."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Trouble(StrEnum):
    """What happens to the request. Drops close the connection without an answer."""

    DROP_BEFORE = "not done, dropped"
    DROP_AFTER = "done, dropped"
    SAY_BEFORE = "not done, answered otherwise"
    SAY_AFTER = "done, answered otherwise"
    HOLD_BEFORE = "not done until released"
    HOLD_AFTER = "done, not answered until released"
    HALF_DONE = "done in git and not in the records, dropped"


@dataclass(eq=False)
class Trap:
    """Waits for requests of ``method`` whose path matches ``path``: lets ``skip`` of them pass, catches ``times``.

    ``status``, ``body`` and ``headers`` are the other answer. A hold ends by ``release`` or after ``hold_s``;
    ``forget``: a request that was held before it was done is dropped then. ``caught`` is set with the first catch.
    """

    method: str
    path: str
    trouble: Trouble
    skip: int = 0
    times: int = 1
    status: int = 500
    body: object = field(default_factory=lambda: {"message": "", "url": ""})
    headers: Mapping[str, str] = field(default_factory=dict)
    hold_s: float = 60.0
    forget: bool = False
    caught: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    def matches(self, method: str, path: str) -> bool:
        return method == self.method and re.search(self.path, path) is not None

    def hold(self) -> None:
        """Wait until somebody releases it."""
        self._released.wait(self.hold_s)

    def release(self, *, forget: bool = False) -> None:
        """Let what is held go on; with ``forget`` as if it had never come."""
        self.forget = self.forget or forget
        self._released.set()


class Traps:
    """The traps of one server. Safe to use from its threads."""

    def __init__(self) -> None:
        self._set: list[Trap] = []
        self._lock = threading.Lock()
        self.sprung: list[tuple[str, str, Trouble]] = []

    def set(self, *traps: Trap) -> None:
        """Add traps; the first that matches a request catches it."""
        with self._lock:
            self._set.extend(traps)

    def clear(self) -> None:
        """Take all away; what is held goes on."""
        with self._lock:
            for one in self._set:
                one.release()
            self._set.clear()

    def catch(self, method: str, path: str) -> Trap | None:
        """The trap for this request, if one is due."""
        with self._lock:
            for one in self._set:
                if not one.matches(method, path) or one.times <= 0:
                    continue
                if one.skip > 0:
                    one.skip -= 1
                    continue
                one.times -= 1
                self.sprung.append((method, path, one.trouble))
                one.caught.set()
                return one
        return None
