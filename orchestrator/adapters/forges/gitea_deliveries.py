"""Deliveries of Gitea's and Forgejo's webhooks: what one speaks of, and what makes two of them one happening."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Final

from orchestrator.adapters.forges import hints
from orchestrator.adapters.forges.wire import Row, at, flag, text
from orchestrator.ports import OWN_WRITE, Hint

_PULLS: Final = ("pull_request",)
"""Events whose type begins so: opened, closed, pushed to, reviewed, commented, labelled, …"""

_TELLING: Final = (
    ("repository", "id"),
    ("action",),
    ("number",),
    ("ref",),
    ("ref_type",),
    ("before",),
    ("after",),
    ("sha",),
    ("state",),
    ("context",),
    ("id",),
    ("created_at",),
    ("is_pull",),
    ("review",),
    ("issue", "number"),
    ("comment", "id"),
    ("comment", "updated_at"),
    ("pull_request", "number"),
    ("pull_request", "state"),
    ("pull_request", "merged"),
    ("pull_request", "updated_at"),
    ("pull_request", "head", "sha"),
    ("requested_reviewer", "id"),
)
_OF_REFS: Final = (("repository", "updated_at"),)
"""The same branch may be made and deleted again: only the time of the repository tells one time from the other."""


def hint(
    event: str, body: bytes, full_name: str, base_branch: str, me: Callable[[], str] = hints.nobody
) -> Hint | None:
    """What a delivery of the event type ``event`` speaks of in the repository ``full_name``; None: another one.
    ``me``: the login of our token's user."""
    row = hints.opened_body(body)
    if row is None:
        return hints.unreadable()
    if not hints.is_of(row, full_name):
        return None
    if hints.is_own_write(event, row, base_branch, me):
        return Hint(note=OWN_WRITE)
    return _READERS.get(event, _of_others)(event, row, base_branch)


def meaning(event: str, body: bytes) -> str | None:
    """The same for every delivery of one happening, whatever hook it came by; None: no telling.

    A redelivery has a new id, and hooks of a repository and of its owner that name one address both send.
    """
    row = hints.opened_body(body)
    if row is None or at(row, "repository", "id") is None:
        return None
    paths = _TELLING if "pull_request" in row else _TELLING + _OF_REFS
    told = [(".".join(path), at(row, *path)) for path in paths]
    return hashlib.sha256(json.dumps([event, told], sort_keys=True).encode()).hexdigest()


def _of_others(event: str, row: Row, base_branch: str) -> Hint:
    if event.startswith(_PULLS) or flag(row, "is_pull") or isinstance(at(row, "pull_request"), dict):
        return hints.of_pull(row)
    return Hint(note=f"{event or 'an event without a name'}: nothing rests on it")


_READERS: Final[Mapping[str, Callable[[str, Row, str], Hint]]] = {
    "push": lambda _event, row, base: hints.of_ref(row, base),
    "create": lambda _event, row, base: hints.of_short_ref(row, base),
    "delete": lambda _event, row, base: hints.of_short_ref(row, base),
    "status": lambda _event, row, _base: Hint(heads=tuple(filter(None, (text(row, "sha"),)))),
}
