"""Hidden words in comments: by them a successor recognises that a comment was written, since no forge has a key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from orchestrator.domain.errors import UsageError

_LAST_WORDS: Final = re.compile(r"<!-- (\S[^\n]*\S|\S) -->\s*\Z")


class Comment(NamedTuple):
    """A comment of a pull request's conversation."""

    key: int
    body: str
    author: str


def hidden(marker: str) -> str:
    """``marker`` as no reader sees it. Raises UsageError where it would end the hidden part early."""
    if "--" in marker or not marker.strip() or marker != marker.strip() or "\n" in marker:
        raise UsageError(f"{marker!r} cannot be hidden in a comment")
    return f"<!-- {marker} -->"


def with_marker(text: str, marker: str) -> str:
    return f"{text}\n\n{hidden(marker)}"


def find_marked(comments: Iterable[Comment], marker: str) -> str | None:
    """Id of the oldest of ``comments`` that carries ``marker``."""
    wanted = hidden(marker)
    found = min((one.key for one in comments if wanted in one.body), default=None)
    return None if found is None else str(found)


def repeated(comments: Iterable[Comment], me: Callable[[], str]) -> list[int]:
    """Ids of comments that only repeat an older one: both end with the same marker, and both are ``me``'s. What a
    person quoted is his; where nobody knows who we are nothing is ours."""
    seen: set[tuple[str, str]] = set()
    twice: list[Comment] = []
    for one in sorted(comments):
        ending = _LAST_WORDS.search(one.body)
        if ending is None:
            continue
        if (ending[1], one.author) in seen:
            twice.append(one)
        seen.add((ending[1], one.author))
    ours = me() if twice else ""
    return [one.key for one in twice if ours and one.author.casefold() == ours.casefold()]
