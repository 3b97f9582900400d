"""The wire between an effect and a fake of the outside: what landed, and the faults that a test wants."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from orchestrator.domain.errors import TransientError

T = TypeVar("T")


class Fault(StrEnum):
    """What may happen to one request. In each case the sender gets a TransientError, which tells it nothing."""

    ANSWER_LOST = "done, the answer is lost"
    NOT_DONE = "not done"
    LATE = "done later, when the test delivers it"


@dataclass
class Wire:
    """``landed`` only grows: (method, argument) of each change of the outside, in the order in which they landed."""

    landed: list[tuple[str, str]] = field(default_factory=list)
    _faults: dict[str, deque[Fault]] = field(default_factory=dict)
    _before: dict[str, deque[Callable[[], object]]] = field(default_factory=dict)
    _after: dict[str, deque[Callable[[], object]]] = field(default_factory=dict)
    _late: list[Callable[[], object]] = field(default_factory=list)

    def will(self, method: str, *faults: Fault) -> None:
        """The next requests of ``method`` meet these faults, one each."""
        self._faults.setdefault(method, deque()).extend(faults)

    def just_before(self, method: str, what: Callable[[], object]) -> None:
        """Somebody does ``what`` between the sender's last look and the landing of its next request."""
        self._before.setdefault(method, deque()).append(what)

    def just_after(self, method: str, what: Callable[[], object]) -> None:
        """Somebody does ``what`` right after the landing, before the sender hears of it."""
        self._after.setdefault(method, deque()).append(what)

    def deliver(self) -> None:
        """What was late lands now; a target that refuses it by now does so unheard."""
        late, self._late = self._late, []
        for land in late:
            try:
                land()
            except Exception as refusal:
                self.landed.append(("refused late", str(refusal)))

    def count(self, method: str) -> int:
        """How often the outside was changed by ``method``."""
        return sum(name == method for name, _ in self.landed)

    def send(self, method: str, land: Callable[[], T]) -> T:
        """One request: it lands, unless a fault was wanted."""
        if self._before.get(method):
            self._before[method].popleft()()
        faults = self._faults.get(method)
        fault = faults.popleft() if faults else None
        match fault:
            case None:
                answer = land()
                if self._after.get(method):
                    self._after[method].popleft()()
                return answer
            case Fault.ANSWER_LOST:
                land()
            case Fault.LATE:
                self._late.append(land)
            case Fault.NOT_DONE:
                pass
        raise TransientError(f"{method}: no answer")
