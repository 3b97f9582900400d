"""The wire to the outside as it really is: it delays, cuts answers, loses, doubles and reorders requests.

A request may land after its sender is dead: the proxy keeps it until the test delivers it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

Frame = bytes
Handler = Callable[[Frame], Frame]

WRITES: Final = frozenset(
    {
        "open_pull_request",
        "merge_pull_request",
        "settle_pull_request",
        "close_pull_request",
        "delete_branch",
        "publish",
        "move_aside",
        "remove",
        "set_state",
        "add_comment",
        "send",
        "build",
        "launch",
    }
)
"""Methods that change the outside; only they meet faults that a test asks for."""
HOLD_S: Final = 60.0


class Trouble(StrEnum):
    """What may happen to one request."""

    HOLD_ANSWER = "it lands, the answer waits until it is let go"
    CUT_ANSWER = "it lands, the answer is cut"
    LOSE = "it is lost, the sender hears nothing"
    ERROR_500 = "not done: 500"
    ERROR_502 = "not done: 502"
    LATE = "it lands when the test delivers it; the sender hears nothing"
    IN_FLIGHT = "it is on its way while its sender waits, and lands when the test delivers it"
    AFTER_NEXT = "it lands right after the next change; the sender hears nothing"
    TWICE = "it lands twice, the first answer comes back"
    DELAY = "it lands a little later, in order"


@dataclass
class Rule:
    """The next change by ``method`` (any change when it is empty) meets ``trouble``."""

    trouble: Trouble
    method: str = ""


@dataclass
class Line:
    """The wire of one project. ``held`` is set while an answer waits, ``go`` lets it go."""

    rules: deque[Rule] = field(default_factory=deque)
    late: deque[Callable[[], object]] = field(default_factory=deque)
    after_next: deque[Callable[[], object]] = field(default_factory=deque)
    held: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def trouble_for(self, method: str) -> Trouble | None:
        if method in WRITES and self.rules and self.rules[0].method in ("", method):
            return self.rules.popleft().trouble
        return None


class Cut(Exception):  # noqa: N818  # no fault of ours: the wire ends
    """The connection ends without an answer."""


class Refused(Exception):  # noqa: N818  # an answer, in the words of HTTP
    """An answer that says that nothing was done."""


def carry(line: Line, method: str, land: Callable[[], Frame]) -> Frame:
    """Carry one request over ``line``. Raises Cut and Refused."""
    trouble = line.trouble_for(method)
    if method not in WRITES:
        return land()
    match trouble:
        case Trouble.LOSE:
            raise Cut
        case Trouble.ERROR_500 | Trouble.ERROR_502:
            raise Refused(trouble)
        case Trouble.LATE:
            line.late.append(land)
            raise Cut
        case Trouble.IN_FLIGHT:
            line.late.append(land)
            line.held.set()
            line.go.wait(HOLD_S)
            raise Cut
        case Trouble.AFTER_NEXT:
            line.after_next.append(land)
            raise Cut
        case _:
            return _landed(line, trouble, land)


def _landed(line: Line, trouble: Trouble | None, land: Callable[[], Frame]) -> Frame:
    if trouble is Trouble.DELAY:
        threading.Event().wait(0.02)
    answer = land()
    if trouble is Trouble.TWICE:
        land()
    while line.after_next:
        line.after_next.popleft()()
    if trouble is Trouble.HOLD_ANSWER:
        line.held.set()
        line.go.wait(HOLD_S)
    if trouble is Trouble.CUT_ANSWER:
        raise Cut
    return answer
