"""Which schedules are played: bounded ones of two actors, and random ones of three with faults."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement
from typing import Final

from tests.schedules.cast import Part
from tests.schedules.network import Fate
from tests.schedules.place import Scenario
from tests.schedules.run import NETWORK, Outcome, Play, Schedule, Turn

SWITCHES: Final = 3
"""So often one actor of a bounded schedule is taken off for another before it came to its end or to a lock."""
_MERGING: Final = (
    Part.MONITOR,
    Part.GITEA,
    Part.PLANE,
    Part.RECONCILER,
    Part.REAPER,
    Part.FINALIZER,
    Part.OPERATOR,
    Part.STOP,
    Part.TIER3,
    Part.CANNOT_KILL,
    Part.RELEASE,
    Part.CRASH,
    Part.REOPEN,
)
_POINTLESS: Final = frozenset({Part.TIER3, Part.CANNOT_KILL, Part.RELEASE, Part.CRASH, Part.REAPER, Part.REOPEN})
"""Two of these alone have nobody to do anything to."""


def pairs(scenario: Scenario) -> Iterator[tuple[Part, Part]]:
    """Every pair of actors that may meet at this step."""
    parts = _MERGING if scenario is Scenario.MERGE else (*_MERGING, Part.DEPLOYER)
    for one, other in combinations_with_replacement(parts, 2):
        if not {one, other} <= _POINTLESS:
            yield one, other


@dataclass
class Family:
    """All bounded schedules of one pair: children of a schedule take one of its actors off once more, later."""

    scenario: Scenario
    pair: tuple[Part, Part]
    chance: random.Random
    open: list[Schedule] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    played: int = 0

    def __post_init__(self) -> None:
        roots = (self.pair, tuple(reversed(self.pair)))
        self.open = [Schedule(self.scenario, one) for one in dict.fromkeys(roots)]

    def take(self) -> Schedule | None:
        """The next one: the first of the rest at first, then any."""
        if not self.open:
            return None
        self.played += 1
        number = 0 if self.played <= 2 else self.chance.randrange(len(self.open))
        self.open[number], self.open[-1] = self.open[-1], self.open[number]
        return self.open.pop()

    def learn(self, schedule: Schedule, outcome: Outcome) -> None:
        """Now it is known where its actors can be taken off."""
        switches = sum(one.steps is not None for one in schedule.turns)
        if switches >= SWITCHES:
            return
        done = _length(schedule, outcome)
        for number in range(done, len(outcome.choices)):
            for other in outcome.choices[number][1]:
                child = _switched(schedule, outcome, number, other)
                if str(child) not in self.seen:
                    self.seen.add(str(child))
                    self.open.append(child)


def _length(schedule: Schedule, outcome: Outcome) -> int:
    """Steps up to and with the first one after the last switch: children switch later."""
    done = sum(one.steps or 0 for one in schedule.turns)
    return done + 1 if schedule.turns else 0


def _switched(schedule: Schedule, outcome: Outcome, number: int, other: str) -> Schedule:
    """The same choices up to ``number``, then ``other``."""
    turns: list[Turn] = []
    for who, _ in outcome.choices[:number]:
        if turns and turns[-1].who == who:
            turns[-1] = replace(turns[-1], steps=(turns[-1].steps or 0) + 1)
        else:
            turns.append(Turn(who, 1))
    return replace(schedule, turns=(*turns, Turn(other)), land_after=(number + len(turns)) % 3)


def bounded(count: int, seed: int, shard: int = 0, shards: int = 1) -> Iterator[tuple[Family, Schedule]]:
    """At most ``count`` bounded schedules, as evenly over the pairs as there are any; each is to be ``learn``ed.

    Shards share out the pairs.
    """
    kinds = [(scenario, pair) for scenario in Scenario if scenario is not Scenario.WHOLE for pair in pairs(scenario)]
    mine = kinds[shard::shards]
    families = [Family(*one, random.Random(f"{seed}/{one}")) for one in mine]
    random.Random(seed).shuffle(families)
    while count > 0 and families:
        for family in list(families):
            schedule = family.take()
            if schedule is None:
                families.remove(family)
            elif count > 0:
                count -= 1
                yield family, schedule


_WEIGHTS: Final = (
    (Part.MONITOR, 5),
    (Part.GITEA, 2),
    (Part.PLANE, 2),
    (Part.RECONCILER, 3),
    (Part.REAPER, 2),
    (Part.FINALIZER, 2),
    (Part.OPERATOR, 4),
    (Part.STOP, 3),
    (Part.TIER3, 3),
    (Part.CANNOT_KILL, 3),
    (Part.RELEASE, 2),
    (Part.DEPLOYER, 2),
    (Part.REOPEN, 1),
)


def random_schedule(seed: str) -> Schedule:
    """Three actors somewhere on the way; the turns are chosen while it is played, by the same seed."""
    chance = random.Random(f"cast {seed}")
    parts, weights = zip(*_WEIGHTS, strict=True)
    chosen = [chance.choice((Part.MONITOR, Part.FINALIZER, Part.RECONCILER)), *chance.choices(parts, weights, k=2)]
    return Schedule(
        chance.choice(tuple(Scenario)), tuple(chosen), land_after=chance.randrange(4), fine=chance.random() < 0.3
    )


class RandomDirector:
    """Chooses turns and faults. Faults are few: a schedule with many of them ends early and shows little."""

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(f"turns {seed}")
        self._faults = self._chance.choice((0, 1, 1, 2, 3))
        self._stay = self._chance.choice((0.5, 0.8, 0.9, 0.97))

    def __call__(self, play: Play) -> None:
        play.place.network.fate = self._fate
        if self._chance.random() < 0.25:
            play.place.red.append(1)
        if self._chance.random() < 0.1:
            play.place.environments.broken = True
        now = ""
        while names := play.can_run():
            if now not in names or self._chance.random() > self._stay:
                now = self._chance.choice(names)
            play.choose(now)
            self._maybe_kill(play)
            if not play.scheduler.runnable():
                break

    def _fate(self, method: str) -> Fate:
        if self._faults and self._chance.random() < 0.2:
            self._faults -= 1
            return self._chance.choice((Fate.LATE, Fate.LATE, Fate.ANSWER_LOST, Fate.LOST))
        return Fate.LANDS

    def _maybe_kill(self, play: Play) -> None:
        if self._faults and self._chance.random() < 0.01:
            alive = [one.name for one in play.scheduler.actors if not one.is_over]
            if alive:
                self._faults -= 1
                play.kill(self._chance.choice(alive))


__all__ = ["NETWORK", "Family", "RandomDirector", "bounded", "pairs", "random_schedule"]
