"""What a delivery of a webhook speaks of, in the orchestrator's own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OWN_WRITE: Final = "own write"
"""Note of a hint at what the orchestrator itself just did: whoever did it knows, and looks by itself."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What a delivery of a webhook speaks of in one project: reasons to look, never facts.

    ``items`` are keys of work items, ``branches``, ``pull_requests`` and ``heads`` (SHAs) lead to tasks.
    ``everything``: it cannot be told what changed, so all that may have changed is looked at. A hint without any of
    these asks for nothing; ``note`` says why (``OWN_WRITE``, an event that means nothing to us).
    """

    items: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    pull_requests: tuple[int, ...] = ()
    heads: tuple[str, ...] = ()
    everything: bool = False
    note: str = ""

    @property
    def asks_for_nothing(self) -> bool:
        return not (self.items or self.branches or self.pull_requests or self.heads or self.everything)
