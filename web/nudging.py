"""Nudges of deliveries, sent after the answer and by a thread of its own: a broker that is slow, frozen or gone costs
the intake nothing. What is not sent, because the broker is down or the process dies, the sweep of the inbox finds.

The first of a burst is told at once. What comes meanwhile goes together: one message costs as much as to keep a
delivery, and several about one item, as when many of its fields changed, are one look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final, Protocol

PAUSE_S: Final = 0.05
"""Between two messages: nobody sees a delivery later for it, and at 200 a second ten go together."""
AT_ONCE: Final = 100
"""Deliveries of one message: what one pass of a worker takes."""


class Sender(Protocol):
    """What the nudges go through."""

    def process_deliveries(self, delivery_ids: Sequence[int]) -> bool:
        """False when the broker does not answer."""


class LaterNudges:
    """Takes ids and returns at once. Its thread begins with the first one, in the process that has it, and ends with
    that process."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._changed = threading.Condition()
        self._waiting: list[int] = []
        self._sending = False
        self._thread: threading.Thread | None = None

    def process_delivery(self, delivery_id: int) -> None:
        with self._changed:
            self._waiting.append(delivery_id)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="nudges", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self, timeout_s: float) -> bool:
        """Wait until all that was given has been tried; False when that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._sending, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                batch, self._waiting, self._sending = self._waiting, [], True
            try:
                self._send(batch)
            finally:
                with self._changed:
                    self._sending = False
                    self._changed.notify_all()
            time.sleep(PAUSE_S)

    def _send(self, batch: Sequence[int]) -> None:
        """A broker that does not take one message is not asked for the rest: each would wait for its time-out again."""
        all(self._sender.process_deliveries(batch[at : at + AT_ONCE]) for at in range(0, len(batch), AT_ONCE))
