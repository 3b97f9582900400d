"""What Plane answers, as values. Unknown keys are ignored; a missing one that we need is an answer that makes no sense.

Plane's own OpenAPI description is not exact, so nothing here is generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.domain.errors import TransientError

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StateRow:
    """A state of a project. ``group``: backlog, unstarted, started, completed or cancelled."""

    id: str
    name: str
    group: str


@dataclass(frozen=True, slots=True)
class ItemRow:
    """A work item. ``state`` and ``project`` are ids; ``labels`` are ids too, or names where they were asked for."""

    id: str
    number: int
    project: str
    name: str
    description_html: str
    state: str
    priority: str
    labels: tuple[str, ...]
    created_by: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class CommentRow:
    id: str
    external_source: str
    external_id: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Person:
    """A user. Whoever he is may change ``display_name`` himself."""

    id: str
    email: str
    display_name: str


@dataclass(frozen=True, slots=True)
class ProjectRow:
    id: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Blocker:
    """The other end of a «blocked by»."""

    project: str
    item: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. ``next``: the cursor of the one after it, None at the end."""

    results: tuple[Json, ...]
    total: int
    next: str | None


def page(body: object) -> Page:
    found = _mapping(body)
    results = found.get("results")
    if not isinstance(results, list):
        raise _senseless("a list has no results")
    more = bool(found.get("next_page_results"))
    cursor = str(found.get("next_cursor") or "") or None
    return Page(tuple(_mapping(one) for one in results), int(found.get("total_count") or 0), cursor if more else None)


def state(body: object) -> StateRow:
    found = _mapping(body)
    return StateRow(_text(found, "id"), _text(found, "name"), _text(found, "group"))


def item(body: object) -> ItemRow:
    found = _mapping(body)
    return ItemRow(
        id=_text(found, "id"),
        number=_number(found, "sequence_id"),
        project=_id_of(found.get("project")),
        name=str(found.get("name") or ""),
        description_html=str(found.get("description_html") or ""),
        state=_id_of(found.get("state")),
        priority=str(found.get("priority") or "none"),
        labels=tuple(_name_of(one) for one in found.get("labels") or ()),
        created_by=_id_of(found.get("created_by")),
        updated_at=_moment(found, "updated_at"),
    )


def comment(body: object) -> CommentRow:
    found = _mapping(body)
    return CommentRow(
        id=_text(found, "id"),
        external_source=str(found.get("external_source") or ""),
        external_id=str(found.get("external_id") or ""),
        created_at=str(found.get("created_at") or ""),
    )


def person(body: object) -> Person:
    found = _mapping(body)
    return Person(_text(found, "id"), str(found.get("email") or ""), str(found.get("display_name") or ""))


def people(body: object) -> Sequence[Person]:
    """Lists of members are plain arrays, not pages."""
    if not isinstance(body, list):
        raise _senseless("the members are no list")
    return [person(one) for one in body]


def project(body: object) -> ProjectRow:
    found = _mapping(body)
    return ProjectRow(_text(found, "id"), str(found.get("identifier") or ""))


def blockers(body: object) -> Sequence[Blocker]:
    found = _mapping(body).get("blocked_by") or ()
    return [Blocker(_text(_mapping(one), "project_id"), _text(_mapping(one), "issue_id")) for one in found]


def _mapping(body: object) -> Json:
    if not isinstance(body, Mapping):
        raise _senseless("an object was expected")
    return body


def _text(found: Json, name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise _senseless(f"it names no {name}")
    return value


def _number(found: Json, name: str) -> int:
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _senseless(f"it has no {name}")
    return value


def _moment(found: Json, name: str) -> datetime:
    try:
        return datetime.fromisoformat(_text(found, name))
    except ValueError as error:
        raise _senseless(f"{name} is no time") from error


def _id_of(value: object) -> str:
    """An id, whether it was expanded to an object or not; empty for null."""
    return str(value.get("id") or "") if isinstance(value, Mapping) else str(value or "")


def _name_of(value: object) -> str:
    return str(value.get("name") or "") if isinstance(value, Mapping) else str(value)


def _senseless(why: str) -> TransientError:
    # Transient: a proxy's page or a half-made answer is over soon, and no fact may be built on it.
    return TransientError(f"an answer of Plane makes no sense: {why}")
