"""Who wrote a work item, as a name that can be trusted. A display name proves nothing: everybody may change his own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from orchestrator.adapters.trackers.plane.answers import Person

_LOOKS: Final = 20
"""Unknown users that make us read the members again: each costs a request, and a bot's item must not cost many."""


class People:
    """Authors by user id. ``trusted``: user ids or e-mail addresses, as the operator wrote them.

    An author whom the operator named is called as he wrote it. Anybody else is called by display name and id, which
    equals no entry, whatever he calls himself; e-mail addresses are never shown.
    """

    def __init__(self, members: Callable[[], Sequence[Person]], trusted: Sequence[str]) -> None:
        self._members = members
        self._trusted = {one.strip().casefold(): one for one in trusted}
        self._lock = threading.Lock()
        self._known: Mapping[str, Person] = {}
        self._looks = 0

    def name_of(self, user: str) -> str:
        """Empty for an item that no user wrote."""
        if not user:
            return ""
        named = self._trusted.get(user.casefold())
        if named is not None:
            return named
        person = self._person(user)
        if person is None:
            return user
        return self._trusted.get(person.email.casefold() or user.casefold(), f"{person.display_name} ({user})")

    def _person(self, user: str) -> Person | None:
        with self._lock:
            if user not in self._known and self._looks < _LOOKS:
                self._looks += 1
                self._known = {one.id: one for one in self._members()}
            return self._known.get(user)
