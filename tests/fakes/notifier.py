"""``ports.Notifier`` that keeps what was said."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.ports import Notification
from tests.fakes.wire import Wire


@dataclass
class FakeNotifier:
    name: str
    wire: Wire
    said: list[Notification] = field(default_factory=list)

    def send(self, notification: Notification) -> None:
        self.wire.send(f"send {self.name}", lambda: self._say(notification))

    def _say(self, notification: Notification) -> None:
        self.said.append(notification)
        self.wire.landed.append(("send", self.name))
