"""The built-in tracker: work items in the orchestrator's own database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from orchestrator.domain.errors import NotFoundError, UsageError
from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.ports import TrackerState, WorkItem
from orchestrator.store import local_tracker
from orchestrator.store.database import Store
from orchestrator.store.local_tracker import Comment, NewItem

_NUMBER: Final = re.compile(r"[1-9]\d{0,8}")


class LocalTracker:
    """Work items of one project. Each call is one short transaction of its own.

    ``author`` signs the comments. Adding and moving items is also how people use it (command line, API).
    """

    def __init__(self, store: Store, project: str, *, author: str = "orchestrator") -> None:
        self._store = store
        self._project = project
        self._author = author

    def work_item(self, key: str) -> WorkItem:
        """A current read. Raises NotFoundError."""
        with self._store.transaction() as connection:
            found = local_tracker.item(connection, self._project, key)
        return found or self._unknown(key)

    def items(self) -> Sequence[WorkItem]:
        """Every item of the project, by number."""
        with self._store.transaction() as connection:
            return local_tracker.items(connection, self._project)

    def changed_since(self, moment: datetime | None, limit: int) -> Sequence[WorkItem]:
        """Items changed at or after ``moment``, oldest first. The time is the database's and is taken just before the
        commit: let ``moment`` overlap the last poll by a few seconds."""
        with self._store.transaction() as connection:
            return local_tracker.changed_since(connection, self._project, moment, limit)

    def add_item(
        self,
        title: str,
        body: str = "",
        priority: int = 0,
        author: str = "operator",
        key: str | None = None,
        blocked_by: Sequence[str] = (),
        state: TrackerState = TrackerState.TO_ANALYSE,
    ) -> str:
        """Add a work item and return its key: ``key``, or the next number of the project.

        Raises UsageError for a bad or taken key or an empty title, NotFoundError for an unknown blocker; then nothing
        was added.
        """
        if not title.strip():
            raise UsageError("a work item needs a title")
        new = NewItem(self._project, title, body, priority, author, state, self._number(key))
        with self._store.transaction() as connection:
            added = local_tracker.add_item(connection, new)
            if isinstance(added, LostRace):
                raise UsageError(added.why, remedy="leave the key out to get the next free number")
            if added in blocked_by:
                raise UsageError(f"{added} cannot wait for itself")
            for blocker in blocked_by:
                if not local_tracker.add_block(connection, added, blocker):
                    raise NotFoundError(f"there is no work item {blocker} that could block this one")
        return added

    def set_state(self, key: str, state: TrackerState) -> None:
        """Move the item. Repeating it is harmless. Raises NotFoundError."""
        with self._store.transaction() as connection:
            moved = local_tracker.set_state(connection, self._project, key, state)
        if not moved:
            self._unknown(key)

    def set_state_if(self, key: str, state: TrackerState, *, expected: TrackerState) -> bool:
        """Move the item if it still stands at ``expected``; False when it does not. Raises NotFoundError."""
        self.work_item(key)
        with self._store.transaction() as connection:
            moved = local_tracker.set_state_if(connection, self._project, key, state, expected)
        return isinstance(moved, Committed)

    def find_comment(self, key: str, marker: str) -> str | None:
        """Id of the comment that carries ``marker``, or None. Raises NotFoundError without such an item."""
        self.work_item(key)
        with self._store.transaction() as connection:
            return local_tracker.find_comment(connection, key, marker)

    def add_comment(self, key: str, marker: str, text: str) -> str:
        """Add the comment once a marker, however often and from wherever it is called; its id. Raises NotFoundError."""
        self.work_item(key)
        with self._store.transaction() as connection:
            return local_tracker.add_comment_once(connection, key, marker, self._author, text)

    def comments(self, key: str) -> Sequence[Comment]:
        """The comments of an item, oldest first. Raises NotFoundError."""
        self.work_item(key)
        with self._store.transaction() as connection:
            return local_tracker.comments(connection, key)

    def _number(self, key: str | None) -> int | None:
        if key is None:
            return None
        number = key.removeprefix(f"{self._project}-")
        if number == key or not _NUMBER.fullmatch(number):
            raise UsageError(f"{key!r} is not a key of this project: it needs {self._project}-<number>")
        return int(number)

    def _unknown(self, key: str) -> WorkItem:
        raise NotFoundError(
            f"there is no work item {key} in the built-in tracker of {self._project}",
            remedy="`orch status` lists them, `orch add` adds one",
        )
