"""Items keep coming, and a person looks after them: stops some, and tries again what a fault has parked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import DBAPIError

from orchestrator.demo.story import PROJECT
from orchestrator.domain.errors import OrchestratorError
from orchestrator.engine import intake, operator
from orchestrator.store import read_models
from orchestrator.store.read_models import ItemRow, ItemState
from tests.chaos import stories
from tests.chaos.arena import Arena
from tests.chaos.stories import Story

AUTHOR: Final = "chaos"
AT_ONCE: Final = 6
"""So many items are on their way at once: two cores are busy, and each pool has something to do."""
_LOOK_S: Final = 0.5
_RETRY_S: Final = 10.0
_TRIES: Final = 3
_MANY: Final = 100_000
OVER: Final = frozenset({ItemState.DONE, ItemState.CANCELLED})


@dataclass(slots=True)
class Added:
    """An item that came."""

    story: Story
    key: str
    at: float
    stop_asked: bool = False
    tried_again_at: float = 0.0
    times_tried: int = 0
    given_up: bool = False
    lane_opened: bool = False


class Load:
    """``tick`` many times a second."""

    def __init__(self, arena: Arena, seed: int, say: Callable[[str], None]) -> None:
        self._arena, self._say = arena, say
        self._coming = stories.stories(seed)
        self._next_look = 0.0
        self._shown: dict[str, str] = {}
        self._next: Story | None = None
        self.added: list[Added] = []
        self.rows: list[ItemRow] = []
        self.open = True
        """Whether new items come."""

    def tick(self) -> None:
        """Look at the board, add what is missing, do what a person would."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_S
        try:
            self.rows = self._board()
            self._add_one()
            self._act()
        except (DBAPIError, OrchestratorError):
            return  # the database is away; everything here is tried again

    def _board(self) -> list[ItemRow]:
        with self._arena.store.snapshot() as connection:
            rows = read_models.board(connection, ended=_MANY)
        for row in rows:
            now = f"{row.stage}{' (parked)' if row.state is ItemState.PARKED else ''}"
            if self._shown.get(row.work_item) != now:
                self._shown[row.work_item] = now
                self._say(f"{row.work_item:9} {now}{_why(row)}")
        return rows

    def _add_one(self) -> None:
        """An item whose adding failed half-way may be there or not: then the next one is added, and both count."""
        if not self.open or len(self.restless()) >= AT_ONCE:
            return
        story = next(self._coming)
        blockers = [self.added[-1].key] if story.after_previous and self.added else []
        key = intake.add_item(
            self._arena.engine,
            PROJECT,
            story.title,
            body=story.body,
            priority=story.priority,
            author=AUTHOR,
            blocked_by=blockers,
        )
        self.added.append(Added(story, key, time.monotonic()))

    def _act(self) -> None:
        now, rows = time.monotonic(), {row.work_item: row for row in self.rows}
        for one in self.added:
            row = rows.get(one.key)
            if row is None:
                continue
            if row.state in OVER:
                self._open_lane(one)
            elif one.story.stop_after_s is not None and not one.stop_asked and now - one.at >= one.story.stop_after_s:
                self._say(operator.stop(self._arena.engine, one.key, by=AUTHOR))
                one.stop_asked = True
            elif row.state is ItemState.PARKED and _is_of_a_fault(one) and now - one.tried_again_at > _RETRY_S:
                self._try_again(one, now)

    def _try_again(self, one: Added, now: float) -> None:
        """A person gives up in the end, and what nobody will mend must not stand in the way of the others."""
        if one.times_tried < _TRIES:
            self._say(f"{one.key} is tried again by a person")
            operator.retry(self._arena.engine, one.key, by=AUTHOR)
            one.times_tried += 1
        elif not one.stop_asked:
            self._say(f"given up: {operator.stop(self._arena.engine, one.key, by=AUTHOR)}")
            one.given_up = one.stop_asked = True
        one.tried_again_at = now

    def _open_lane(self, one: Added) -> None:
        """Its deploy may have closed the lane, which only its mend or a person opens."""
        if one.given_up and not one.lane_opened:
            if operator.resume_lane(self._arena.engine, PROJECT, AUTHOR):
                self._say(f"the lane is opened by a person: {one.key} is given up")
            one.lane_opened = True

    # --- the end ---------------------------------------------------------------------------------------------

    def at_rest(self) -> bool:
        """Every item is over, or waits for a person or for one that does; what was to be stopped was stopped."""
        if not self.rows:
            return False
        parked = {row.work_item for row in self.rows if row.state is ItemState.PARKED}
        return all(row.state in OVER or self._may_rest(row, parked) for row in self.rows) and not self._to_do(parked)

    def _may_rest(self, row: ItemRow, parked: set[str]) -> bool:
        waits_for_parked = any(f"blocked by {key}," in reason for key in parked for reason in row.reasons)
        return row.work_item in parked or waits_for_parked

    def _to_do(self, parked: set[str]) -> bool:
        ended = {row.work_item for row in self.rows if row.state in OVER}
        for one in self.added:
            if one.key in ended:
                if one.given_up and not one.lane_opened:
                    return True
            elif (one.story.stop_after_s is not None and not one.stop_asked) or (
                one.key in parked and _is_of_a_fault(one)
            ):
                return True
        return False

    def restless(self) -> Sequence[ItemRow]:
        """Items that neither ended nor rest."""
        parked = {row.work_item for row in self.rows if row.state is ItemState.PARKED}
        return [row for row in self.rows if row.state not in OVER and not self._may_rest(row, parked)]


def _is_of_a_fault(one: Added) -> bool:
    """Whether it is a fault that parked it: one story ends with a question to a person, and rests there."""
    return one.story.plan != stories.BLOCKED


def _why(row: ItemRow) -> str:
    return f": {'; '.join(row.reasons)[:160]}" if row.state is ItemState.PARKED else ""
