"""One fleet takes the place of another on the same data directory: how a new version of this program comes up.

The old supervisor is asked once, by its full identity, and stops as on Ctrl-C: running gates finish, agents go on.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from orchestrator.fleet.errors import AlreadyRunningError
from orchestrator.fleet.identity import ProcessIdentity, machine
from orchestrator.fleet.lock import DataDirLock
from orchestrator.fleet.record import read_record, record_path

PATIENCE_S: Final = 1500.0
"""Longer than the workers of gates get to finish their work (``services.EDGES_GRACE_S``)."""
_POLL_S: Final = 0.2


@contextlib.contextmanager
def lock_when_free(
    data_dir: Path, report: Callable[[str], None], *, patience_s: float = PATIENCE_S
) -> Iterator[DataDirLock]:
    """The lock of the data directory, once the fleet that has it has stopped.

    Raises AlreadyRunningError when it still runs after ``patience_s`` seconds.
    """
    asked: set[ProcessIdentity] = set()
    deadline = time.monotonic() + patience_s
    lock = DataDirLock(data_dir)
    while True:
        try:
            lock.__enter__()
            break
        except AlreadyRunningError:
            if time.monotonic() >= deadline:
                raise
        _ask(data_dir, asked, report)
        time.sleep(_POLL_S)
    try:
        yield lock
    finally:
        lock.__exit__(None, None, None)


def _ask(data_dir: Path, asked: set[ProcessIdentity], report: Callable[[str], None]) -> None:
    """Once each: a second request would hurry it. One that has not written its record yet is asked when it has."""
    record = read_record(record_path(data_dir))
    if record is None or record.machine != machine() or record.supervisor in asked:
        return
    if record.supervisor.send(signal.SIGTERM):
        asked.add(record.supervisor)
        report(f"asked the fleet that runs here (pid {record.supervisor.pid}) to stop; its agents go on")
