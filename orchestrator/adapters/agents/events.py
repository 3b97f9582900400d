"""The event stream of an agent CLI: JSON lines in a file, read in pieces, so that no line is too long to survive.

A line that is no JSON object is counted and skipped: CLIs write warnings between their events, and one event into the
middle of another. The shim cuts the middle of a stream that is too long; its last lines are always there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

LONGEST_LINE: Final = 10 * 1024 * 1024
"""Bytes of one line that are read; of a longer one nothing is, since a cut event is none."""
_STDERR_KEPT: Final = 2000
_CHUNK: Final = 256 * 1024

Event = Mapping[str, Any]


class Events:
    """The events of one file. ``unread``: lines that were none, known when all were taken."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.unread = 0

    def __iter__(self) -> Iterator[Event]:
        for line in _lines(self._file):
            event = _parsed(line)
            if event is None:
                self.unread += 1
            else:
                yield event


class Listener(Protocol):
    """What a CLI's events are told to, one after the other."""

    def take(self, event: Event) -> None: ...


def listen(file: Path, told: Listener) -> int:
    """Tell ``told`` every event of the file; how many lines were none."""
    events = Events(file)
    for event in events:
        told.take(event)
    return events.unread


def _parsed(line: bytes) -> Event | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _lines(file: Path) -> Iterator[bytes]:
    """Lines without their ends, empty ones left out; a line over the limit is given as one that cannot be parsed."""
    try:
        stream = file.open("rb")
    except OSError:
        return
    rest, too_long = b"", False
    with stream:
        while chunk := stream.read(_CHUNK):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield from _one(line, too_long=too_long)
                too_long = False
            if len(rest) > LONGEST_LINE:
                rest, too_long = b"", True
        yield from _one(rest, too_long=too_long)


def _one(line: bytes, *, too_long: bool) -> Iterator[bytes]:
    if too_long or len(line) > LONGEST_LINE:
        yield b"["
    elif line.strip():
        yield line


def at(event: object, *path: str) -> Any:
    """The value at ``path`` below ``event``, None where there is none: no field is sure to be there."""
    for name in path:
        if not isinstance(event, Mapping):
            return None
        event = event.get(name)
    return event


def text_at(event: object, *path: str) -> str:
    """The text at ``path``, "" where there is none."""
    found = at(event, *path)
    return found if isinstance(found, str) else ""


def count_at(event: object, *path: str) -> int | None:
    """The whole number at ``path``; None where it was not measured."""
    found = at(event, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def stderr_tail(file: Path) -> str:
    """The end of what the CLI wrote to stderr, where errors of its start stand."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - _STDERR_KEPT))
            return stream.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""
