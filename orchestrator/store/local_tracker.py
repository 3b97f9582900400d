"""Statements of the built-in tracker: work items, what blocks them, comments. Keys are ``<project>-<number>``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, text

from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.ports import TrackerState, WorkItem
from orchestrator.store.texts import storable


@dataclass(frozen=True, slots=True)
class NewItem:
    """A work item to be written. ``number`` None: the next free one of the project."""

    project: str
    title: str
    body: str
    priority: int
    author: str
    state: TrackerState
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment of a work item. ``marker`` is what its writer recognises it by."""

    id: str
    marker: str
    author: str
    text: str
    at: datetime


_ITEM: Final = f"""SELECT i.key, i.project, i.title, i.body, i.state, i.priority, i.author, i.updated_at,
    ARRAY(SELECT b.blocked_by FROM local_blocks b JOIN local_items o ON o.key = b.blocked_by
           WHERE b.item = i.key AND o.state NOT IN ('{TrackerState.DONE}', '{TrackerState.CANCELLED}')
           ORDER BY o.project, o.number) AS blocked_by
  FROM local_items i"""


def add_item(connection: Connection, new: NewItem) -> str | LostRace:
    """Write the item and return its key. Lost race: the number that was asked for is taken."""
    _one_at_a_time(connection, new.project)
    key = connection.execute(
        text(
            """INSERT INTO local_items (key, project, number, title, body, state, priority, author)
            SELECT :project || '-' || n, :project, n, :title, :body, :state, :priority, :author
              FROM (SELECT coalesce(CAST(:number AS int), max(number) + 1, 1) AS n
                      FROM local_items WHERE project = :project) next
            ON CONFLICT DO NOTHING RETURNING key"""
        ),
        {
            "project": new.project,
            "number": new.number,
            "title": storable(new.title),
            "body": storable(new.body),
            "state": new.state,
            "priority": new.priority,
            "author": storable(new.author),
        },
    ).scalar()
    return LostRace(f"{new.project}-{new.number} exists already") if key is None else str(key)


def _one_at_a_time(connection: Connection, project: str) -> None:
    # Two writers would read the same maximum. A statement of its own: the next one must see what the last holder wrote.
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('local_items ' || :project, 0))"), {"project": project}
    )


def add_block(connection: Connection, item: str, blocked_by: str) -> bool:
    """Say that ``item`` waits for ``blocked_by``; False when no such item exists. Repeating it is harmless."""
    return bool(
        connection.execute(
            text(
                """INSERT INTO local_blocks (item, blocked_by)
                SELECT :item, key FROM local_items WHERE key = :blocked_by
                ON CONFLICT (item, blocked_by) DO UPDATE SET item = excluded.item"""
            ),
            {"item": item, "blocked_by": blocked_by},
        ).rowcount
    )


def item(connection: Connection, project: str, key: str) -> WorkItem | None:
    """The item as it stands now."""
    row = connection.execute(
        text(f"{_ITEM} WHERE i.project = :project AND i.key = :key"), {"project": project, "key": key}
    ).one_or_none()
    return None if row is None else _work_item(row)


def items(connection: Connection, project: str) -> Sequence[WorkItem]:
    """Every item of the project, by number."""
    rows = connection.execute(text(f"{_ITEM} WHERE i.project = :project ORDER BY i.number"), {"project": project})
    return [_work_item(row) for row in rows]


def changed_since(connection: Connection, project: str, moment: datetime | None, limit: int) -> Sequence[WorkItem]:
    """Items changed at or after ``moment`` (None: all), oldest change first."""
    rows = connection.execute(
        text(
            f"""{_ITEM} WHERE i.project = :project AND i.updated_at >= coalesce(:moment, '-infinity'::timestamptz)
            ORDER BY i.updated_at, i.number LIMIT :limit"""
        ),
        {"project": project, "moment": moment, "limit": limit},
    )
    return [_work_item(row) for row in rows]


def set_state(connection: Connection, project: str, key: str, state: TrackerState) -> bool:
    """Move the item; False when there is none. A repetition is no change: polls must not see it as one."""
    return bool(
        connection.execute(
            text(
                """UPDATE local_items SET state = :state,
                  updated_at = CASE WHEN state = :state THEN updated_at ELSE clock_timestamp() END
                WHERE project = :project AND key = :key"""
            ),
            {"project": project, "key": key, "state": state},
        ).rowcount
    )


def set_state_if(
    connection: Connection, project: str, key: str, state: TrackerState, expected: TrackerState
) -> Committed | LostRace:
    """Move the item from ``expected``. Lost race: it stands elsewhere by now, and stays there."""
    won = connection.execute(
        text(
            """UPDATE local_items SET state = :state, updated_at = clock_timestamp()
            WHERE project = :project AND key = :key AND state = :expected"""
        ),
        {"project": project, "key": key, "state": state, "expected": expected},
    ).rowcount
    return Committed() if won else LostRace(f"{key} is no longer at {expected}")


def add_comment_once(connection: Connection, key: str, marker: str, author: str, words: str) -> str:
    """Write the comment unless the item has one with this marker; id of the one that is there. The item must exist."""
    written = connection.execute(
        text(
            """INSERT INTO local_comments (item, marker, author, text) VALUES (:key, :marker, :author, :words)
            ON CONFLICT (item, marker) DO NOTHING RETURNING id"""
        ),
        {"key": key, "marker": marker, "author": author, "words": storable(words)},
    ).scalar()
    # The insert waited for whoever held the marker, so the next statement sees that comment.
    return find_comment(connection, key, marker) or "" if written is None else str(written)


def find_comment(connection: Connection, key: str, marker: str) -> str | None:
    """Id of the comment that carries ``marker``."""
    found = connection.execute(
        text("SELECT id FROM local_comments WHERE item = :key AND marker = :marker"), {"key": key, "marker": marker}
    ).scalar()
    return None if found is None else str(found)


def comments(connection: Connection, key: str) -> Sequence[Comment]:
    """The comments of an item, oldest first."""
    rows = connection.execute(
        text("SELECT id::text AS id, marker, author, text, at FROM local_comments WHERE item = :key ORDER BY id"),
        {"key": key},
    )
    # The row's own tuple order: a column called text must not be taken for a method.
    return [Comment(*row) for row in rows]


def _work_item(row: Row[tuple[object, ...]]) -> WorkItem:
    values = dict(row._mapping)
    return WorkItem(**{**values, "state": TrackerState(values["state"]), "blocked_by": tuple(values["blocked_by"])})
