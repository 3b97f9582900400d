"""Files of deployments on this node, in ``<data_dir>/deploys``.

``<id>.json`` is what the deployer was started with, ``<id>.log`` what it and its command said, ``<id>.command`` who its
command is, ``<project>-<environment>.lock`` is held while a deployer runs there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from orchestrator.adapters.run_directory import write_durably
from orchestrator.domain.configuration import DeploySpec
from orchestrator.domain.ownership import Owner

LOG_CAP: Final = 4 * 1024 * 1024
"""Bytes of a log; the beginning goes when it grows over that, since the end carries the outcome."""


class DeployFiles:
    """The files under ``data_dir``, by deployment id."""

    def __init__(self, data_dir: Path) -> None:
        self.base = data_dir / "deploys"

    def log(self, deployment_id: int) -> Path:
        return self.base / f"{deployment_id}.log"

    def open_log(self, deployment_id: int) -> int:
        """A descriptor that appends to the log; the caller closes it."""
        self.base.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self.log(deployment_id), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def tail(self, deployment_id: int, limit: int) -> str:
        """The end of the log, at most ``limit`` bytes of it."""
        with contextlib.suppress(FileNotFoundError), self.log(deployment_id).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - limit))
            return file.read().decode("utf-8", "replace").replace("\0", "").strip()
        return ""

    def cap_log(self, deployment_id: int, cap: int = LOG_CAP) -> None:
        """Keep the last half of a log that grew over ``cap``. Its writers append, so they go on behind that."""
        with self.log(deployment_id).open("r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size <= cap:
                return
            file.seek(size - cap // 2)
            kept = file.read()
            file.truncate(0)
        with self.log(deployment_id).open("ab", buffering=0) as file:
            file.write(f"[... {size - len(kept)} bytes cut by the orchestrator ...]\n".encode() + kept)

    def write_spec(self, deployment_id: int, spec: DeploySpec) -> None:
        """Keep how the deployment is done: the deployer does what was decided, whatever is configured by then."""
        self.base.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(str(self.base / f"{deployment_id}.json"), asdict(spec))

    def read_spec(self, deployment_id: int) -> DeploySpec | None:
        """What ``write_spec`` kept, or None. Keys of another version of the orchestrator are passed over."""
        stored = _read_json(self.base / f"{deployment_id}.json")
        if stored is None:
            return None
        known = {one.name for one in fields(DeploySpec)}
        kept = {name: value for name, value in stored.items() if name in known}
        return DeploySpec(**{**kept, "command": tuple(kept.get("command", ()))})

    def write_command(self, deployment_id: int, leader: Owner) -> None:
        """Keep who leads the command's process group, before the command begins."""
        write_durably(str(self.base / f"{deployment_id}.command"), asdict(leader))

    def read_command(self, deployment_id: int) -> Owner | None:
        """None: no command of that deployment was started on this node."""
        stored = _read_json(self.base / f"{deployment_id}.command")
        return None if stored is None else Owner(**stored)

    @contextlib.contextmanager
    def environment_lock(self, project: str, environment: str) -> Iterator[bool]:
        """Whether this process has the environment on this machine; the kernel gives it back when it dies."""
        self.base.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.base / f"{quote(project, safe='')}-{quote(environment, safe='')}.lock"
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(descriptor)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return stored if isinstance(stored, dict) else None
