"""Exit codes: a contract (`docs/operations.md` lists them)."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
CANCELLED: Final = 3
"""Cancelled, or timed out."""
NOT_ALLOWED: Final = 4
CHANGED: Final = 6
"""The lease, the head or the row is no longer what the command was about."""
NEEDS_PERSON: Final = 7
PENDING: Final = 8
