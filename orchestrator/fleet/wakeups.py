"""Wait for signals without polling: requests to stop, and the end of a child."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self, TypeAlias

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Handler: TypeAlias = Callable[[int, FrameType | None], object]


class Wakeups:
    """Context manager for the main thread: installs the handlers and puts the old ones back.

    ``stop_requests`` counts SIGINT, SIGTERM and SIGHUP so far.
    """

    def __init__(self) -> None:
        self.stop_requests = 0
        self._old: dict[int, _Handler | int | None] = {}
        self._old_descriptor = -1
        self._receiver, self._sender = socket.socketpair()

    def __enter__(self) -> Self:
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._old_descriptor = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # under nohup: stay when the terminal goes
            self._old[number] = signal.signal(number, self._on_stop)
        self._old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._old_descriptor)
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._receiver.close()
        self._sender.close()

    def wait(self, timeout_s: float) -> None:
        """Return after ``timeout_s``, or as soon as a signal has come since the last call."""
        readable, _, _ = select.select([self._receiver], [], [], max(0.0, timeout_s))
        if readable:
            self._receiver.recv(4096)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requests += 1
