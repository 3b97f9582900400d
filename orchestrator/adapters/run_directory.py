"""The directory of one agent run: its files, its lock, and how a record is put there for good.

Standard library only, and little of it: the shim imports this module.
"""

from __future__ import annotations

import fcntl
import json
import os
import time

MARKER = "ORCH_RUN_ID"
"""Every process of a run has this in its environment, unless it took care not to."""

REQUEST, PROMPT, LOCK, STOP = "request.json", "prompt.md", "lock", "stop"
SHIM, EXIT, ACKNOWLEDGED = "shim.json", "exit.json", "acknowledged"
STDOUT, STDERR, SHIM_LOG = "stdout.log", "stderr.log", "shim.log"


def write_durably(path: str, document: object) -> None:
    """Put ``document`` at ``path`` as JSON so that a reader and a power cut see all of it or nothing."""
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    fsync_directory(os.path.dirname(path) or ".")


def fsync_directory(path: str) -> None:
    """Make a rename in that directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def utc_now() -> str:
    """Now, in ISO 8601 with milliseconds; ``datetime`` would cost half a megabyte."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}+00:00"


def take_lock(run_dir: str = ".") -> int | None:
    """Take the directory for this process and its forks; None when a shim holds it. Closing the last copy of
    the descriptor, also by dying, gives it back."""
    fd = os.open(os.path.join(run_dir, LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def marker_of(run_id: str) -> bytes:
    """The entry by which processes of that run are recognised."""
    return f"{MARKER}={run_id}".encode()
