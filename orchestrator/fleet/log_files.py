"""Keep the services' log files small.

Services write to their file themselves (a pipe through the supervisor would break when it is killed), so a
file is rotated by copying and emptying it: every writer appends, hence goes on at the new end. A line
written between the copy and the emptying is lost.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

LIMIT_BYTES = 10 * 1024 * 1024  # with KEPT files a service has 40 MB at most: days of an idle fleet
KEPT = 3
_TAIL_BYTES = 8192
_ERROR = re.compile(r"\b(FATAL|PANIC|CRITICAL|ERROR|\w*Error)\b")


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


def telling_line(log: Path, since: int = 0) -> str:
    """The line that says most about an end: the last that names an error, else the last with text in it.

    ``since``: bytes to pass over, what an earlier process wrote.
    """
    lines = [line.strip() for line in _tail(log, since) if line.strip()]
    errors = [line for line in lines if _ERROR.search(line)]
    return (errors or lines or ["it wrote nothing"])[-1]


def _tail(log: Path, since: int) -> list[str]:
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            passed = since if since <= size else 0  # rotated meanwhile
            file.seek(max(passed, size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
