"""The outside as a multiset of requests in flight: each lands now, later (also when its sender is dead), or never."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from orchestrator.domain.errors import TransientError
from tests.fakes.wire import Wire
from tests.schedules.scheduler import Actor, current, reach

T = TypeVar("T")


class Fate(StrEnum):
    """What becomes of one request. In all but the first case its sender hears nothing, which says nothing."""

    LANDS = "lands"
    ANSWER_LOST = "lands, its answer is lost"
    LATE = "is late"
    LOST = "is lost"


@dataclass(eq=False)
class Request:
    """One request that was sent and has not come to its end. ``sender`` is None in the quiet phase."""

    method: str
    sender: Actor | None
    land: Callable[[], Any]

    def __str__(self) -> str:
        return f"{self.method} of {self.sender.name if self.sender else 'a sweep'}"


@dataclass
class Network(Wire):
    """``fate`` says what becomes of the next request; ``flight`` holds what is under way."""

    flight: list[Request] = field(default_factory=list)
    fate: Callable[[str], Fate] = lambda method: Fate.LANDS
    faults: int = 0
    landed_late: int = 0
    story: Callable[[str], None] = lambda line: None

    def send(self, method: str, land: Callable[[], T]) -> T:
        """One request. Its sender parks when it is sent and when it has landed; killed there, it stays in flight."""
        actor = current()
        if actor is not None:
            actor.must_live()
        request = Request(method, actor, land)
        self.flight.append(request)
        reach(f"{method} is sent")
        fate = self.fate(method) if actor is not None else Fate.LANDS
        if fate is not Fate.LANDS:
            self.faults += 1
            self.story(f"{request} {fate}")
        if fate is Fate.LATE:
            raise TransientError(f"{method}: no answer")
        self.flight.remove(request)
        if fate is Fate.LOST:
            raise TransientError(f"{method}: no answer")
        answer = land()
        reach(f"{method} landed")
        if fate is Fate.ANSWER_LOST:
            raise TransientError(f"{method}: no answer")
        return answer

    def orphans(self) -> list[Request]:
        """What may land at any moment: nobody waits for its answer any more."""
        return [one for one in self.flight if one.sender is None or not self._is_waited_for(one)]

    def _is_waited_for(self, request: Request) -> bool:
        actor = request.sender
        return actor is not None and not actor.is_over and actor.point == f"{request.method} is sent"

    def deliver_one(self, request: Request) -> None:
        """It lands now; a target that refuses it by now does so unheard."""
        self.flight.remove(request)
        self.landed_late += 1
        try:
            request.land()
            self.story(f"{request} lands late")
        except Exception as refusal:  # whatever a target says, nobody listens
            self.landed.append(("refused late", str(refusal)))
            self.story(f"{request} is refused late: {refusal}")
