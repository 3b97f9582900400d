"""Follows the work items in the tracker while the demo runs: the tracker keeps only the present state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from orchestrator.ports import Tracker


class TrackerWatch:
    """Counts how often each item was seen to come into each state."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._state: dict[str, str] = {}
        self._entered: dict[str, Counter[str]] = {}

    def look(self, keys: Sequence[str]) -> None:
        """One read of each item; often enough that no state is missed (they stand for seconds)."""
        for key in keys:
            now = str(self._tracker.work_item(key).state)
            if self._state.get(key) != now:
                self._state[key] = now
                self._entered.setdefault(key, Counter())[now] += 1

    def entered(self, key: str) -> Counter[str]:
        return self._entered.get(key, Counter())
