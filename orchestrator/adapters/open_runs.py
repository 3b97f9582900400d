"""Which run directories nobody has acknowledged yet: asked some times a second, for ever, so it must not cost more
with every run that ever was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.adapters import run_directory as files

_SETTLED_NS: Final = 2_000_000_000
"""A directory's time of change is coarse: what was made in the moment of a listing may carry the same one."""


class OpenRuns:
    """The run directories below ``base`` that are not acknowledged, for one process and one thread.

    A run is acknowledged once and for good, also by another process. So the whole directory is listed only when
    something came or went in it, and only what is still open is looked at again.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._known: set[str] = set()
        self._open: set[str] = set()
        self._listed_at_ns = -1

    def __iter__(self) -> Iterator[Path]:
        """Oldest name first."""
        self._list_if_changed()
        for name in sorted(self._open):
            run_dir = self._base / name
            if (run_dir / files.ACKNOWLEDGED).exists():
                self._open.discard(name)
            else:
                yield run_dir

    def _list_if_changed(self) -> None:
        try:
            changed_ns = self._base.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_ns == self._listed_at_ns:
            return
        now_ns = time.time_ns()
        there = {one.name for one in self._base.iterdir()}
        self._open = (self._open & there) | (there - self._known)
        self._known = there
        self._listed_at_ns = changed_ns if 0 <= changed_ns < now_ns - _SETTLED_NS else -1
