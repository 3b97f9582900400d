"""Keep the services' log files small.

Services write to their file themselves (a pipe through the supervisor would break when it is killed), so a
file is rotated by copying and emptying it: every writer appends, hence goes on at the new end. A line
written between the copy and the emptying is lost.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

LIMIT_BYTES = 10 * 1024 * 1024  # with KEPT files a service has 40 MB at most: days of an idle fleet
KEPT = 3
_TAIL_BYTES = 8192


def rotate(log: Path, limit_bytes: int = LIMIT_BYTES) -> bool:
    """Rotate ``log`` to ``log.1`` … ``log.3`` when it is over the limit. Returns whether it was."""
    try:
        if log.stat().st_size <= limit_bytes:
            return False
        for number in range(KEPT, 1, -1):
            older = log.with_name(f"{log.name}.{number - 1}")
            if older.exists():
                older.replace(log.with_name(f"{log.name}.{number}"))
        shutil.copy2(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
    except FileNotFoundError:
        return False
    return True


def last_line(log: Path) -> str:
    """The last line with text in it, for messages."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
