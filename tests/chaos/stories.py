"""Which work items come, and what becomes of each when nobody disturbs it. Pure: one seed, one stream."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PLAIN, REVIEWED, BROKEN, UNHEALTHY, BLOCKED, ENDLESS = "plain", "reviewed", "broken", "unhealthy", "blocked", "endless"
"""What the scripted agent does: ``tests/chaos/agent.py`` knows the same words."""

_STOPPED: Final = "stopped"
_DEPENDENT: Final = "dependent"
_MIX: Final = {
    PLAIN: 8,
    REVIEWED: 3,
    BROKEN: 2,
    UNHEALTHY: 2,
    BLOCKED: 1,
    ENDLESS: 2,
    _STOPPED: 3,
    _DEPENDENT: 3,
}
"""How many of each kind come in a round, in any order."""


@dataclass(frozen=True, slots=True)
class Story:
    """One work item. ``stop_after_s``: a person stops it so long after it came; ``after_previous``: it waits for the
    item before it."""

    number: int
    plan: str
    priority: int
    stop_after_s: float | None = None
    after_previous: bool = False

    @property
    def title(self) -> str:
        extra = (
            ", stopped" if self.stop_after_s is not None else ", after the one before" if self.after_previous else ""
        )
        return f"Item {self.number}: {self.plan}{extra}"

    @property
    def body(self) -> str:
        """The last line tells the scripted agent what to do."""
        return f"One more line in the catalogue.\n\nPlan: {self.plan}\n"


def stories(seed: int) -> Iterator[Story]:
    """Without end. The first round has one of each kind first, so that a short run sees them all."""
    chance = random.Random(f"stories {seed}")
    words = chance.sample(list(_MIX), len(_MIX))
    number = 0
    while True:
        for word in words:
            number += 1
            yield _story(chance, number, word)
        words = [word for word, count in _MIX.items() for _ in range(count)]
        chance.shuffle(words)


def _story(chance: random.Random, number: int, word: str) -> Story:
    priority = chance.randrange(4)
    match word:
        case "stopped":
            return Story(number, PLAIN, priority, stop_after_s=round(chance.uniform(2.0, 45.0), 1))
        case "endless":
            return Story(number, ENDLESS, priority, stop_after_s=round(chance.uniform(10.0, 40.0), 1))
        case "dependent":
            return Story(number, PLAIN, priority, after_previous=True)
        case _:
            return Story(number, word, priority)
