"""The supervisor's side of a spare: a process that has loaded what a worker needs, before one dies.

There is one at most. It is started when the whole fleet stands, so that it never takes the processor from a start that
somebody waits for; who dies while there is none is started from nothing, as ever.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeAlias

from orchestrator.embedded.child import spawn

AGAIN_S: Final = 30.0
"""Seconds from one start to the next at least, for one that ends by itself: it would end again."""

_Code: TypeAlias = frozenset[tuple[str, int, int]]
_HERE: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Order:
    """What to become: the name of the service, the words after ``python -m tasks``, and the log (a path)."""

    name: str
    words: tuple[str, ...]
    log: str

    def line(self) -> bytes:
        """As it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: str) -> Order:
        """The other way."""
        found = json.loads(line)
        return cls(found["name"], tuple(found["words"]), found["log"])


class Spare:
    """At most one process that waits to become a worker or beat. Only for the main thread (see ``spawn``).

    ``env``: the environment of the services that it may become. ``code``: where the program lies.
    """

    def __init__(self, env: Mapping[str, str], data_dir: Path, code: Path = _HERE) -> None:
        self._env = dict(env)
        self._data_dir = data_dir
        self._code = code
        self._loaded: _Code = frozenset()
        self._process: subprocess.Popen[bytes] | None = None
        self._next_start = 0.0

    def keep(self) -> None:
        """Have one, unless one was started a moment ago and has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            self._forget()
        if self._process is None and time.monotonic() >= self._next_start:
            self._start()

    def take(self, order: Order) -> subprocess.Popen[bytes] | None:
        """Make it that service. None when there is no spare, or the program has changed since it was loaded: half of
        an old version and half of a new one would be neither."""
        process = self._process
        if process is None or process.stdin is None:
            return None
        if _code(self._code) != self._loaded:
            self.end()
            return None
        try:
            process.stdin.write(order.line())
            process.stdin.close()
        except BrokenPipeError:  # it has ended
            return None
        self._process, self._next_start = None, 0.0
        return process

    def end(self) -> None:
        """It holds nothing that it would have to put in order."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()
            self._next_start = 0.0

    def _start(self) -> None:
        log = self._data_dir / "logs" / "spare.log"
        self._next_start = time.monotonic() + AGAIN_S
        self._loaded = _code(self._code)
        try:
            log.unlink(missing_ok=True)  # what the one before it said
            self._process = spawn(
                (sys.executable, "-m", "orchestrator.fleet.worker"),
                env=self._env,
                log=log,
                cwd=self._data_dir,
                stdin=subprocess.PIPE,
            )
        except OSError:  # no process, memory or disk is left: the fleet goes on without one
            self._process = None

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None


def _code(root: Path) -> _Code:
    """Every module of ours, with its time and size."""
    found = (*root.glob("*.py"), *root.glob("orchestrator/**/*.py"), *root.glob("tasks/**/*.py"))
    return frozenset(stamp for one in found if (stamp := _stamp(one)) is not None)


def _stamp(file: Path) -> tuple[str, int, int] | None:
    try:
        status = file.stat()
    except OSError:  # gone, for a new version comes just now, or not for us to read
        return None
    return str(file), status.st_mtime_ns, status.st_size
