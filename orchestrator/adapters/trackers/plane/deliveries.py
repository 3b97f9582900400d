"""What a delivery of Plane's webhook speaks of. It is a hint: its data may be stale, and nothing here is believed.

A webhook fires for every project of the workspace; the body has the project's id and no key, which is built from the
item's number. Two deliveries may differ in the name of one field (``state`` over REST, ``state_id`` in the UI), and
new versions add keys: whatever is not understood is a hint at everything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from orchestrator.ports import OWN_WRITE, Hint

_MEANINGLESS: Final = frozenset({"issue_comment", "module", "cycle", "project"})
"""Events that no decision rests on: comments are for people."""
_MOST: Final = 2**31
"""Beyond the numbers that Plane's own column can hold."""


def hint(body: bytes, project: str, key: str, me: Callable[[], str]) -> Hint | None:
    """``project``: the id of our project, ``key``: its identifier, ``me``: the id of the key's user."""
    found = _object(body)
    if found is None:
        return Hint(everything=True, note="the body is no JSON object")
    data = found.get("data")
    if not isinstance(data, Mapping):
        return Hint(everything=True, note="it has no data")
    theirs = data.get("project")
    if isinstance(theirs, str) and theirs and theirs != project:
        return None
    event = found.get("event")
    if isinstance(event, str) and event in _MEANINGLESS:
        return Hint(note=f"{event}: nothing rests on it")
    if _actor(found) is not None and _actor(found) == me():
        return Hint(note=OWN_WRITE)
    number = data.get("sequence_id")
    if (
        isinstance(theirs, str)
        and theirs
        and isinstance(number, int)
        and not isinstance(number, bool)
        and 0 < number < _MOST
    ):
        return Hint(items=(f"{key}-{number}",))
    # A deleted item is told by its id alone.
    return Hint(everything=True, note="it does not say which item")


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _actor(found: Mapping[str, Any]) -> str | None:
    activity = found.get("activity")
    actor = activity.get("actor") if isinstance(activity, Mapping) else None
    named = actor.get("id") if isinstance(actor, Mapping) else None
    return named if isinstance(named, str) and named else None
