"""``ports.Tracker`` in memory. It keeps the contract of trackers (see test_fakes_keep_the_contracts)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from orchestrator.domain.errors import NotFoundError
from orchestrator.ports import TrackerState, WorkItem
from tests.fakes.wire import Wire

_OVER = (TrackerState.DONE, TrackerState.CANCELLED)


@dataclass
class FakeTracker:
    wire: Wire
    items: dict[str, WorkItem] = field(default_factory=dict)
    comments: dict[tuple[str, str], str] = field(default_factory=dict)
    _now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def add(self, key: str, state: TrackerState = TrackerState.TO_ANALYSE, **values: object) -> None:
        item = WorkItem(key, "P", "Greet", "", state, 0, "ann", (), self._tick())
        self.items[key] = replace(item, **values)  # type: ignore[arg-type]  # the test's own words

    def work_item(self, key: str) -> WorkItem:
        if key not in self.items:
            raise NotFoundError(f"there is no work item {key}")
        item = self.items[key]
        return replace(item, blocked_by=tuple(one for one in item.blocked_by if self.items[one].state not in _OVER))

    def changed_since(self, moment: datetime | None, limit: int) -> Sequence[WorkItem]:
        found = [one for one in self.items.values() if moment is None or one.updated_at >= moment]
        return sorted(found, key=lambda one: one.updated_at)[:limit]

    def set_state(self, key: str, state: TrackerState) -> None:
        self.wire.send("set_state", lambda: self._move(key, state))

    def set_state_if(self, key: str, state: TrackerState, *, expected: TrackerState) -> bool:
        return self.wire.send("set_state", lambda: self._move_if(key, state, expected))

    def _move_if(self, key: str, state: TrackerState, expected: TrackerState) -> bool:
        stands = self.work_item(key).state is expected
        if stands:
            self._move(key, state)
        return stands

    def _move(self, key: str, state: TrackerState) -> None:
        item = self.work_item(key)
        if item.state is not state:
            self.items[key] = replace(self.items[key], state=state, updated_at=self._tick())
            self.wire.landed.append(("set_state", str(state)))

    def find_comment(self, key: str, marker: str) -> str | None:
        self.work_item(key)
        found = [index for index, one in enumerate(self.comments) if one == (key, marker)]
        return str(found[0]) if found else None

    def add_comment(self, key: str, marker: str, text: str) -> str:
        return self.wire.send("add_comment", lambda: self._comment(key, marker, text))

    def _comment(self, key: str, marker: str, text: str) -> str:
        self.work_item(key)
        if (key, marker) not in self.comments:
            self.comments[key, marker] = text
            self.wire.landed.append(("add_comment", marker))
        return str(self.find_comment(key, marker))

    def _tick(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now
