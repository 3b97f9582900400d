"""A verdict as an agent files it."""

from __future__ import annotations

from typing import Any

RUN = "run-1"


def document(**changes: object) -> dict[str, Any]:
    """A pass of ``RUN``, with what ``changes`` replaces or adds."""
    plain: dict[str, Any] = {
        "schema": "verdict/1",
        "run_id": RUN,
        "verdict": "pass",
        "summary": "s",
        "findings": [],
        "artifacts": [],
        "blocked_on": None,
    }
    return {**plain, **changes}
