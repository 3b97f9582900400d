"""Hidden words in comments: by them a successor recognises that a comment was written, since no forge has a key."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.errors import UsageError


def hidden(marker: str) -> str:
    """``marker`` as no reader sees it. Raises UsageError where it would end the hidden part early."""
    if "--" in marker or not marker.strip() or marker != marker.strip() or "\n" in marker:
        raise UsageError(f"{marker!r} cannot be hidden in a comment")
    return f"<!-- {marker} -->"


def with_marker(text: str, marker: str) -> str:
    return f"{text}\n\n{hidden(marker)}"


def find_marked(comments: Iterable[tuple[int, str]], marker: str) -> str | None:
    """Id of the first of ``comments`` (id, body) that carries ``marker``."""
    wanted = hidden(marker)
    return next((str(key) for key, body in comments if wanted in body), None)
