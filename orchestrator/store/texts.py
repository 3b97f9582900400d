"""Text of people and agents, made fit for a Postgres column."""

from __future__ import annotations


def storable(text: str) -> str:
    """``text`` with a replacement mark for what Postgres refuses: NUL, and half a surrogate pair (a byte that was no
    UTF-8). Agents and terminals send both, and a comment must not fail for it."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
