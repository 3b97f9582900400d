"""Postgres and Valkey as two direct children, for programs that need the stores without a whole fleet."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.embedded.child import spawn
from orchestrator.embedded.errors import EmbeddedStoreError
from orchestrator.embedded.places import Places, places, prepare
from orchestrator.embedded.postgres import postgres_answers, postgres_argv, prepare_postgres
from orchestrator.embedded.valkey import prepare_valkey, valkey_answers, valkey_argv

START_LIMIT_S = 60.0  # crash recovery of a large cluster takes its time; a fresh one needs a second
STOP_LIMIT_S = 30.0
_POLL_S = 0.02


class EmbeddedStores:
    """Start and stop the stores of one data directory. A context manager: stopped on every way out.

    The children die with the thread that started them. The caller sees to it that one data directory has one
    user at a time (the fleet holds a lock on it).
    """

    def __init__(
        self, data_dir: Path, *, postgres: bool = True, valkey: bool = True, postgres_options: Sequence[str] = ()
    ) -> None:
        self.places: Places = places(data_dir)
        self._with_postgres = postgres
        self._with_valkey = valkey
        self._postgres_options = tuple(postgres_options)
        self._postgres: subprocess.Popen[bytes] | None = None
        self._valkey: subprocess.Popen[bytes] | None = None

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database ``orchestrator``."""
        return self.places.database_url()

    @property
    def broker_url(self) -> str:
        """kombu URL of the embedded Valkey."""
        return self.places.broker_url

    @property
    def pids(self) -> dict[str, int]:
        """Name -> pid of what was started."""
        started = {"postgres": self._postgres, "valkey": self._valkey}
        return {name: child.pid for name, child in started.items() if child is not None}

    def start(self) -> None:
        """Start what was asked for and wait until it answers. Raises EmbeddedStoreError; then nothing runs."""
        prepare(self.places)
        try:
            if self._with_postgres:
                self._start_postgres()
            if self._with_valkey:
                self._start_valkey()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop Valkey, then Postgres (fast shutdown); killed when that takes over STOP_LIMIT_S. Idempotent."""
        _end(self._valkey, signal.SIGTERM)
        self._valkey = None
        _end(self._postgres, signal.SIGINT)
        self._postgres = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_postgres(self) -> None:
        user = prepare_postgres(self.places)
        log = self.places.logs / "postgres.log"
        self._postgres = spawn(
            postgres_argv(self.places, *self._postgres_options),
            env=store_environment(),
            log=log,
            death_signal=signal.SIGINT,
            cwd=Path("/"),
            run_as=user,
        )
        _await(self._postgres, lambda: postgres_answers(self.places), log)

    def _start_valkey(self) -> None:
        prepare_valkey(self.places)
        log = self.places.logs / "valkey.log"
        self._valkey = spawn(
            valkey_argv(self.places), env=store_environment(), log=log, death_signal=signal.SIGTERM, cwd=Path("/")
        )
        _await(self._valkey, lambda: valkey_answers(self.places), log)


def store_environment() -> dict[str, str]:
    """Environment of a store: nothing of ours, least of all a token."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _await(child: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not answers():
        if child.poll() is not None or time.monotonic() > deadline:
            raise EmbeddedStoreError(f"{log.stem} did not start: {last_line(log)}", remedy=f"see {log}")
        time.sleep(_POLL_S)


def last_line(log: Path) -> str:
    """Last line of a log that is not empty, or a sentence that there is none."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1] if lines else "it wrote nothing"


def _end(child: subprocess.Popen[bytes] | None, stop_signal: signal.Signals) -> None:
    if child is None:
        return
    child.send_signal(stop_signal)
    try:
        child.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
