"""One supervisor a data directory, held by the kernel: gone with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.fleet.errors import AlreadyRunningError


class DataDirLock:
    """Context manager. Raises AlreadyRunningError, naming the holder, when another process has the lock."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptor = -1

    def __enter__(self) -> Self:
        descriptor = os.open(self._data_dir / "fleet.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise self._taken(holder) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)  # never unlinked: a second file of this name would be a second lock

    def _taken(self, holder: str) -> AlreadyRunningError:
        return AlreadyRunningError(
            f"a fleet already runs on {self._data_dir}: pid {holder}",
            remedy=f"stop it with Ctrl-C or `kill {holder}`, or set ORCH_DATA_DIR to another directory",
        )
