"""Notifications into the log, and into a file with one JSON object a line, where they can be counted."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from orchestrator.domain.errors import TransientError
from orchestrator.ports import Notification

_log: Final = logging.getLogger(__name__)
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "alert": logging.ERROR}


class LogNotifier:
    """Appends to ``file``, which any number of processes may share; makes its folder. Lines are never changed."""

    name = "log"

    def __init__(self, file: Path) -> None:
        self._file = file

    def send(self, notification: Notification) -> None:
        """Log it and append it. Raises TransientError when the line could not be written."""
        # Half a surrogate pair in an agent's text must not break whoever reads the log.
        told = f"{notification.title}: {notification.text}".encode("utf-8", "backslashreplace").decode()
        _log.log(_LEVELS.get(notification.severity, logging.INFO), "%s", told)
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "severity": notification.severity,
            "title": notification.title,
            "text": notification.text,
        }
        self._append(json.dumps(line).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # One write at the end of the file: lines of two processes never mix.
                written = os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise TransientError(f"cannot write {self._file}: {error.strerror}") from error
        if written != len(line):
            raise TransientError(f"cannot write {self._file}: the disk is full")
