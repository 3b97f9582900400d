"""Plays one schedule and says what came of it. A schedule is text, so that a failing one can be kept and played again.

``merge/monitor+operator/monitor:12,operator:3,monitor``: in the scenario ``merge`` the monitor makes 12 steps, then the
operator 3, then the monitor goes on; after the last entry everybody runs to the end, in the order of the cast. A turn
``network`` lets the oldest request land whose sender is gone. ``monitor:effect.merge_pr.sent`` runs to that point,
``monitor!kill`` ends it after its turn, ``monitor!late`` (``lost``, ``answer_lost``) is the fate of its next request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy

from orchestrator.settings import Switches
from orchestrator.store.database import Store
from tests.schedules import cast, judge
from tests.schedules.memory import Remembering, Versions
from tests.schedules.network import Fate
from tests.schedules.place import Place, Scenario, begin
from tests.schedules.scheduler import Actor, Scheduler, install

NETWORK: Final = "network"
MOST_STEPS: Final = 3000


@dataclass(frozen=True, slots=True)
class Turn:
    """``who`` makes ``steps`` steps, or runs until ``point`` or until its end; ``fault`` is done to it afterwards."""

    who: str
    steps: int | None = None
    point: str = ""
    fault: str = ""

    def __str__(self) -> str:
        until = self.point or ("" if self.steps is None else str(self.steps))
        return f"{self.who}{f':{until}' if until else ''}{f'!{self.fault}' if self.fault else ''}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Who plays what, in which order. ``land_after``: sweeps until late requests land; ``fine``: actors also park
    before commits."""

    scenario: Scenario
    parts: tuple[cast.Part, ...]
    turns: tuple[Turn, ...] = ()
    land_after: int = 0
    fine: bool = False

    def __str__(self) -> str:
        flags = f"{'~' if self.fine else ''}{f'@{self.land_after}' if self.land_after else ''}"
        return f"{self.scenario}{flags}/{'+'.join(self.parts)}/{','.join(map(str, self.turns))}"


def parse(words: str) -> Schedule:
    """The schedule that ``str`` wrote."""
    where, parts, turns = words.split("/", 2)
    scenario, _, after = where.partition("@")
    return Schedule(
        Scenario(scenario.removesuffix("~")),
        tuple(cast.Part(one) for one in parts.split("+")),
        tuple(_turn(one) for one in turns.split(",") if one),
        int(after or 0),
        scenario.endswith("~"),
    )


def _turn(words: str) -> Turn:
    words, _, fault = words.partition("!")
    who, _, until = words.partition(":")
    return Turn(who, int(until), fault=fault) if until.isdigit() else Turn(who, None, until, fault)


@dataclass
class Outcome:
    """What one schedule came to. ``trace``: (who, from, to) of each step; ``choices``: step -> who else could run."""

    schedule: str
    breaches: list[str] = field(default_factory=list)
    trace: list[tuple[str, str, str]] = field(default_factory=list)
    choices: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    steps: int = 0
    lock_waits: int = 0
    kills: int = 0
    takeovers: int = 0
    end: str = ""

    def told(self) -> str:
        """The schedule as people read it: who ran from which point to which."""
        lines = [f"schedule {self.schedule}"]
        before = ""
        for who, start, end in _joined(self.trace):
            mark = "   " if who == before else "-> "
            lines.append(f"  {mark}{who:<18} {start}  ..  {end}" if end else f"      {who}")
            before = who
        lines.append(f"  in the end: {self.end}")
        lines += [f"  VIOLATION {one}" for one in self.breaches]
        return "\n".join(lines)


def _joined(trace: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for who, start, end in trace:
        if found and end and found[-1][0] == who and found[-1][2] == start:
            found[-1] = (who, found[-1][1], end)
        else:
            found.append((who, start, end))
    return found


class Stage:
    """One database, on which schedules are played one after the other."""

    def __init__(self, url: str, *, every_read: bool = False, switches: Switches | None = None) -> None:
        self._switches = switches or Switches()
        self._engine = sqlalchemy.create_engine(url, pool_size=10, max_overflow=20)
        self._playing: Scheduler | None = None
        install(self._engine, lambda: self._playing)
        versions = Versions(self._engine)
        self._store: Store = Store(self._engine) if every_read else Remembering(self._engine, versions)

    def close(self) -> None:
        self._engine.dispose()

    def play(self, schedule: Schedule, direct: Callable[[Play], None] | None = None) -> Outcome:
        """Play it. ``direct`` decides the turns instead of the schedule's own."""
        if isinstance(self._store, Remembering):
            self._store.forget()
        scheduler = Scheduler(self._engine, fine=schedule.fine)
        self._playing = scheduler
        outcome = Outcome(str(schedule))
        try:
            place = begin(self._store, scheduler, schedule.scenario, self._switches)
            play = Play(place, schedule, outcome)
            (direct or follow)(play)
            play.run_out()
            play.judge()
        finally:
            scheduler.finish()
        return outcome


class Play:
    """One schedule while it is played."""

    def __init__(self, place: Place, schedule: Schedule, outcome: Outcome) -> None:
        self.place, self.schedule, self.outcome = place, schedule, outcome
        self.scheduler = place.scheduler
        self.land_after = schedule.land_after
        self._last = ""
        self.witness = judge.Witness(place)
        self.scheduler.on_point, self.scheduler.on_write = self.witness.at_point, self.witness.at_write
        place.network.story = self.note
        self.actors = {actor.name: actor for actor in (cast.enter(place, part) for part in schedule.parts)}

    def note(self, line: str) -> None:
        self.outcome.trace.append((line, "", ""))

    def can_run(self) -> list[str]:
        """Names of who may make the next step."""
        names = [one.name for one in self.scheduler.runnable()]
        return [*names, NETWORK] if self.place.network.orphans() else names

    def step(self, who: str) -> None:
        """One step of ``who``, which is one of ``can_run``."""
        if who == NETWORK:
            self.outcome.steps += 1
            self.place.network.deliver_one(self.place.network.orphans()[0])
            return
        actor = self.actors[who]
        if who != self._last:
            self.place.age_leases()
        self._last, start = who, actor.point
        self.scheduler.step(actor)
        self.outcome.steps += 1
        self.outcome.trace.append((who, start, _where(actor)))
        if self.outcome.steps > MOST_STEPS:
            raise AssertionError(f"no end after {MOST_STEPS} steps")

    def kill(self, who: str) -> None:
        actor = self.actors[who]
        self.note(f"SIGKILL of {who} at {actor.point}")
        self.scheduler.kill(actor)

    def run_out(self) -> None:
        """Everybody goes on to the end, one after the other."""
        while True:
            names = [one.name for one in self.scheduler.runnable()]
            if names:
                self.choose(names[0])
            elif not self.scheduler.wait_for_a_lock():
                break
        blocked = [one for one in self.scheduler.actors if not one.is_over]
        if blocked:
            self.outcome.breaches.append(f"I15: {blocked[0].name} waits for a lock that nobody gives back")

    def choose(self, who: str) -> None:
        """A step that somebody else could have made as well."""
        self.outcome.choices.append((who, tuple(one for one in self.can_run() if one != who)))
        self.step(who)

    def judge(self) -> None:
        outcome, scheduler = self.outcome, self.scheduler
        outcome.breaches += judge.settle(self.place, land_after=self.land_after)
        outcome.breaches += judge.breaches(self.place, self.witness)
        outcome.lock_waits, outcome.kills = scheduler.lock_waits, scheduler.kills
        row = self.place.rows("SELECT stage, stage_seq, parked_reason, lease_epoch FROM tasks")[0]
        parked = f", parked: {row.parked_reason[:80]}" if row.parked_reason else ""
        outcome.end = f"{row.stage} #{row.stage_seq}{parked}"
        outcome.takeovers = len(self.place.rows("SELECT 1 FROM events WHERE kind = 'lease.forced'"))


def _where(actor: Actor) -> str:
    if actor.is_over:
        return f"its end{' (dead)' if actor.doomed else ''}"
    return f"{actor.point} (waits for a lock)" if not actor.can_run else actor.point


def follow(play: Play) -> None:
    """The turns as the schedule has them. One that cannot be made any more is left out."""
    for turn in play.schedule.turns:
        if turn.fault and turn.fault != "kill":
            play.place.network.fate = _once(Fate[turn.fault.upper()])
        done = 0
        while turn.who in play.can_run() and not _is_done(play, turn, done):
            play.choose(turn.who)
            done += 1
        play.place.network.fate = lambda method: Fate.LANDS
        if turn.fault == "kill" and turn.who in play.actors:
            play.kill(turn.who)


def _once(fate: Fate) -> Callable[[str], Fate]:
    """That fate for the first request whose fate is asked in this turn."""
    left = [fate]
    return lambda method: left.pop() if left else Fate.LANDS


def _is_done(play: Play, turn: Turn, done: int) -> bool:
    if turn.who == NETWORK:
        return done >= (turn.steps or 1)
    if turn.steps is not None:
        return done >= turn.steps
    return bool(turn.point) and done > 0 and play.actors[turn.who].point == turn.point
