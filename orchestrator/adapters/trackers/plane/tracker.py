"""``ports.Tracker`` on one Plane project. All reads are current; what a delivery or a list says is never believed."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from orchestrator.adapters.trackers.plane import deliveries, states
from orchestrator.adapters.trackers.plane.answers import Blocker, ItemRow, Person, ProjectRow
from orchestrator.adapters.trackers.plane.answers import item as item_of
from orchestrator.adapters.trackers.plane.client import SOURCE, PlaneClient, Taken
from orchestrator.adapters.trackers.plane.html_text import as_html, as_text, sane
from orchestrator.adapters.trackers.plane.people import People
from orchestrator.adapters.trackers.plane.states import OVER, StateMap
from orchestrator.domain.configuration import ProjectConfig
from orchestrator.domain.errors import LostRaceError, NeedsHumanError, NotFoundError, TransientError
from orchestrator.ports import Hint, TrackerState, WorkItem

_PRIORITIES: Final = {"urgent": 4, "high": 3, "medium": 2, "low": 1, "none": 0}
_LONGEST_ID: Final = 255
_WALKS: Final = 3


class PlaneTracker:
    """Work items of one project. Its identifier in Plane is the project's key, so ``ORCH-114`` is the same there."""

    def __init__(self, client: PlaneClient, config: ProjectConfig) -> None:
        self._client = client
        self._key = config.key
        self._configured = config.plane.states
        self._people = People(self._members, config.trusted_authors)
        self._known = threading.RLock()
        self._project: ProjectRow | None = None
        self._states: StateMap | None = None
        self._me: str | None = None
        self._writing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._rest: tuple[datetime, list[ItemRow]] | None = None

    # --- reads -------------------------------------------------------------------------------------------

    def work_item(self, key: str) -> WorkItem:
        """A current read of the item and of what blocks it. Raises NotFoundError, also for an archived item."""
        row = self._row(key)
        blocked_by = [self._blocking(one) for one in self._client.blockers(row.project, row.id)]
        return self._work_item(row, tuple(one for one in blocked_by if one is not None))

    def changed_since(self, moment: datetime | None, limit: int) -> Sequence[WorkItem]:
        """Items changed at or after ``moment``, oldest first, without what blocks them: that costs a read an item.

        Comments, links and relations change an item as well. A deleted or archived item is in no list.
        """
        rows = self._rest_of_last_walk(moment)
        if rows is None:
            rows = self._walk(moment)
        page, rest = rows[:limit], rows[limit:]
        if rest:
            last = page[-1].updated_at
            self._rest = last, [row for row in rows if row.updated_at >= last]
        return [self._work_item(row, ()) for row in page]

    def find_comment(self, key: str, marker: str) -> str | None:
        """Id of the oldest comment of ours that carries ``marker``, or None."""
        row = self._row(key)
        return next(iter(self._ours(row, _external_id(key, marker))), None)

    # --- writes ------------------------------------------------------------------------------------------

    def set_state(self, key: str, state: TrackerState) -> None:
        """Move the item. Its state is read just before: one that stands right is not written, and a STOP that a person
        wrote meanwhile is only written over by an end (LostRaceError otherwise)."""
        row = self._row(key)
        now = self._meaning(row)
        if now is state:
            return
        if now is TrackerState.STOP and state not in OVER:
            raise LostRaceError(f"{key} was moved to STOP meanwhile")
        self._client.set_state(row.project, row.id, self._map().ids[state])

    def add_comment(self, key: str, marker: str, text: str) -> str:
        """Add the comment once a marker; its id. Plane's own check of external ids is not atomic: so one writer an item
        at a time (the lease sees to it over processes), a look first, and a look afterwards for what raced us."""
        with self._writer(key):
            row = self._row(key)
            external = _external_id(key, marker)
            found = self._ours(row, external)
            if not found:
                try:
                    self._client.add_comment(row.project, row.id, as_html(text), external)
                except Taken as taken:
                    if taken.id:
                        return taken.id
                found = self._ours(row, external)
            if not found:
                raise TransientError(f"a comment of {key} was written and cannot be seen")
            for surplus in found[1:]:
                self._client.delete_comment(row.project, row.id, surplus)
            return found[0]

    # --- deliveries --------------------------------------------------------------------------------------

    def hint(self, event: str, body: bytes) -> Hint | None:
        """What a delivery of Plane's webhook speaks of in this project. Our own writes are told by their actor."""
        return deliveries.hint(body, self._here().id, self._key, self._user)

    # --- what is known of the project --------------------------------------------------------------------

    def states(self) -> StateMap:
        """The states as they are now, read anew. Raises ConfigurationError with every one that is missing."""
        with self._known:
            self._states = states.resolve(self._configured, self._client.states(self._here().id), self._key)
            return self._states

    def _map(self) -> StateMap:
        with self._known:
            return self._states or self.states()

    def _here(self) -> ProjectRow:
        with self._known:
            if self._project is not None:
                return self._project
            found = list(self._client.projects())
            self._project = next((one for one in found if one.identifier == self._key), None)
            if self._project is None:
                names = ", ".join(one.identifier for one in found) or "none"
                raise NeedsHumanError(
                    f"{self._client.workspace} has no project {self._key} that this API key may see; it sees: {names}",
                    remedy="the key in orchestrator.yml is the identifier in Plane; make the API key's user a member",
                )
            return self._project

    def _user(self) -> str:
        with self._known:
            self._me = self._me or self._client.me().id
            return self._me

    def _members(self) -> Sequence[Person]:
        return self._client.workspace_members()

    # --- items -------------------------------------------------------------------------------------------

    def _row(self, key: str) -> ItemRow:
        try:
            return self._client.item_by_key(key)
        except NotFoundError as error:
            raise NotFoundError(
                f"there is no work item {key} in Plane", remedy="it was deleted or archived, or never was"
            ) from error

    def _work_item(self, row: ItemRow, blocked_by: tuple[str, ...]) -> WorkItem:
        return WorkItem(
            key=f"{self._key}-{row.number}",
            project=self._key,
            title=sane(row.name),
            body=as_text(row.description_html),
            state=self._meaning(row),
            priority=_PRIORITIES.get(row.priority, 0),
            author=self._people.name_of(row.created_by),
            blocked_by=blocked_by,
            updated_at=row.updated_at,
            labels=tuple(map(sane, row.labels)),
        )

    def _meaning(self, row: ItemRow) -> TrackerState:
        known = self._map().meanings.get(row.state)
        # A state that was made since: read the states once more.
        return known or self.states().meanings.get(row.state, TrackerState.BACKLOG)

    def _blocking(self, blocker: Blocker) -> str | None:
        """The key of a blocker that is not over; None when it is over or gone."""
        try:
            row = self._client.item(blocker.project, blocker.item)
        except NotFoundError:
            return None
        if blocker.project == self._here().id:
            return None if self._meaning(row) in OVER else f"{self._key}-{row.number}"
        return self._blocking_elsewhere(row)

    def _blocking_elsewhere(self, row: ItemRow) -> str | None:
        """In another project only the group of its state says something."""
        groups = {one.id: one.group for one in self._client.states(row.project)}
        if states.meaning_of_group(groups.get(row.state, "")) in OVER:
            return None
        names = {one.id: one.identifier for one in self._client.projects()}
        return f"{names.get(row.project, row.project)}-{row.number}"

    # --- lists -------------------------------------------------------------------------------------------

    def _rest_of_last_walk(self, moment: datetime | None) -> list[ItemRow] | None:
        """A long list is asked for page by page; what a walk found and did not give yet need not be read again."""
        rest, self._rest = self._rest, None
        return rest[1] if rest is not None and rest[0] == moment else None

    def _walk(self, moment: datetime | None) -> list[ItemRow]:
        """From the last changed back to ``moment``; oldest first. Paging goes by offset: an item deleted meanwhile
        moves another one over the edge of a page, so the walk is done again when the total shrank."""
        found: dict[str, ItemRow] = {}
        for _ in range(_WALKS):
            found.clear()
            total, steady, cursor = None, True, None
            while True:
                page = self._client.items_page(self._here().id, cursor)
                steady = steady and (total is None or page.total >= total)
                total = page.total
                rows = [item_of(one) for one in page.results]
                found.update({row.id: row for row in rows if row.id not in found})
                cursor = page.next
                if cursor is None or (moment is not None and rows and rows[-1].updated_at < moment):
                    break
            if steady:
                break
        chosen = [row for row in found.values() if moment is None or row.updated_at >= moment]
        return sorted(chosen, key=lambda row: (row.updated_at, row.number))

    # --- comments ----------------------------------------------------------------------------------------

    def _ours(self, row: ItemRow, external_id: str) -> list[str]:
        """Ids of our comments with that external id, oldest first: there is no look-up for it."""
        found = [
            one
            for one in self._client.comments(row.project, row.id)
            if one.external_source == SOURCE and one.external_id == external_id
        ]
        return [one.id for one in sorted(found, key=lambda one: (one.created_at, one.id))]

    def _writer(self, key: str) -> threading.Lock:
        with self._known:
            return self._writing[key]


def _external_id(key: str, marker: str) -> str:
    """Unique in the project, which is where Plane looks; markers that are too long are told by their hash."""
    whole = f"{key}/{marker}"
    if len(whole) <= _LONGEST_ID:
        return whole
    return f"{whole[: _LONGEST_ID - 65]}#{hashlib.sha256(whole.encode()).hexdigest()}"
