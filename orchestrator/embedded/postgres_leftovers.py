"""What a Postgres that was killed leaves behind and that keeps the next one from starting (Linux: by /proc).

Only for a data directory whose server is about to be started by the one who may: nothing of it should live then.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_GONE_S: Final = 5.0
_POLL_S: Final = 0.02


def clear_leftovers(data: Path, socket_dir: Path) -> None:
    """Remove stale lock files of the server of ``data``, and end backends that have outlived it."""
    for lock_file in (data / "postmaster.pid", *socket_dir.glob(".s.PGSQL.*.lock")):
        clear_stale_lock_file(lock_file, data)
    end_orphans(data)


def clear_stale_lock_file(lock_file: Path, data: Path) -> None:
    """Remove a lock file whose pid belongs to another program by now, to another Postgres, or to one that is dead.

    Postgres refuses to start while a process has that pid: often after a container restart, and for as long as nobody
    has reaped the one that was killed. A live server of ``data`` is never touched, and with no such pid Postgres clears
    its files itself. The data directory and each socket have such a file, with the pid in the first line.
    """
    try:
        pid = int(lock_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    if (_PROC / str(pid)).exists() and not _works_in(pid, data, unknown=True):
        lock_file.unlink(missing_ok=True)


def end_orphans(data: Path) -> None:
    """End backends of ``data`` whose server is gone.

    They leave by themselves when they see that; but one that waits for a lock of a backend that was killed too never
    sees it, and while it lives the new server finds the old shared memory in use.
    """
    orphans = [pid for pid in _pids() if _is_orphan(pid, data)]
    for pid in orphans:
        _kill(pid)
    deadline = time.monotonic() + _GONE_S
    while any(_works_in(pid, data, unknown=False) for pid in orphans) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _pids() -> Iterator[int]:
    if _PROC.is_dir():
        yield from (int(one.name) for one in _PROC.iterdir() if one.name.isdigit())


def _is_orphan(pid: int, data: Path) -> bool:
    """A backend calls itself «postgres: …»; its server has the command line that it was started with."""
    if not _works_in(pid, data, unknown=False):
        return False
    try:
        title = (_PROC / str(pid) / "cmdline").read_bytes()
        parent = int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return False
    return title.startswith(b"postgres: ") and not _works_in(parent, data, unknown=True)


def _works_in(pid: int, data: Path, *, unknown: bool) -> bool:
    """Whether that is a Postgres of ``data`` that lives: each stands in its data directory, a zombie stands nowhere.

    ``unknown``: the answer for one that may not be looked at.
    """
    process = _PROC / str(pid)
    try:
        return (process / "comm").read_text().strip() == "postgres" and (process / "cwd").readlink() == data.resolve()
    except PermissionError:
        return unknown
    except OSError:
        return False


def _kill(pid: int) -> None:
    # What is killed is looked at right before: its pid cannot have been given away in this moment.
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
