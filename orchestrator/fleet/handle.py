"""A fleet as an object: what `orch demo` and the tests start, break and stop.

The supervisor is a process of its own, the same one as behind `orch up`, so that it can be killed as well.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.embedded.child import spawn
from orchestrator.embedded.places import make_private
from orchestrator.fleet.errors import FleetError
from orchestrator.fleet.identity import children
from orchestrator.fleet.log_files import telling_line
from orchestrator.fleet.needs import FleetSettings
from orchestrator.fleet.record import Entry, FleetRecord, read_record, record_path
from orchestrator.fleet.service import State

_POLL_S = 0.05
START_LIMIT_S = 120.0


class Fleet:
    """The fleet of ``settings.data_dir``. Not for two threads; ``start`` only in a thread that stays.

    ``report`` gets the supervisor's lines, while a method of this class waits or ``relay`` is called.
    """

    def __init__(self, settings: FleetSettings, report: Callable[[str], None] | None = None) -> None:
        self._settings = settings
        self._report = report
        self._log = settings.data_dir / "logs" / "supervisor.log"
        self._read_from = 0
        self._read_to = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = START_LIMIT_S) -> None:
        """Start the supervisor and wait until every service is ready. Raises FleetError; then nothing runs."""
        self.launch()
        try:
            self._await(lambda record: record.ready, timeout_s, "the fleet is not ready")
        except BaseException:
            self.stop(grace_s=10.0)
            raise

    def launch(self) -> None:
        """Start the supervisor without waiting for anything; see ``ready`` and ``ended``."""
        make_private(self._settings.data_dir)
        make_private(self._log.parent)
        self._read_from = self._read_to = self._log.stat().st_size if self._log.exists() else 0
        env = {**self._settings.basic_environment(), **self._settings.environment()}
        argv = [sys.executable, "-m", "orchestrator.fleet"]
        self._process = spawn(argv, env=env, log=self._log, cwd=Path("/"), death_signal=signal.SIGTERM)

    def ready(self) -> bool:
        """Whether every service of this supervisor was ready once."""
        record = self._record()
        return record is not None and record.ready

    def ended(self) -> bool:
        """Whether the supervisor that was launched has gone by itself."""
        return self._process is not None and self._process.poll() is not None

    def last_words(self) -> str:
        """What the supervisor wrote that says most about its end."""
        return telling_line(self._log, self._read_from)

    def stop(self, grace_s: float | None = None) -> int:
        """Stop everything in order and return the supervisor's exit code.

        ``grace_s``: seconds for edges to finish before the workers are hurried; None: as long as they have.
        """
        if self._process is None:
            return 0
        process, self._process = self._process, None
        for patience in (grace_s, 60.0, 60.0):
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            self.relay()
            return code
        process.kill()
        return process.wait()

    def kill(self) -> None:
        """kill -9 the supervisor alone and wait for its end. The kernel ends its services."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self, name: str, timeout_s: float = 60.0) -> None:
        """Ask one service to stop and wait until its successor is ready. Raises FleetError when it is not."""
        before = self._entry(name)
        if before.identity is not None:
            before.identity.send(signal.Signals(before.stop_signal))
        self.wait_restarted(name, before.starts, timeout_s)

    def wait_restarted(self, name: str, starts: int, timeout_s: float = 60.0) -> None:
        """Wait until ``name`` is ready in a process after number ``starts`` (see ``starts``)."""

        def again(record: FleetRecord) -> bool:
            entry = record.entry(name)
            return entry is not None and entry.starts > starts and entry.state is State.READY

        self._await(again, timeout_s, f"{name} was not started again")

    def starts(self, name: str) -> int:
        """How many processes ``name`` has had under this supervisor."""
        return self._entry(name).starts

    def pid(self, name: str) -> int | None:
        """Pid of the process of ``name`` that lives now; cheaper than ``pids``."""
        record = self._record()
        entry = record.entry(name) if record is not None else None
        living = entry is not None and entry.identity is not None and entry.identity.lives()
        return entry.pid if entry is not None and living else None

    def is_ready(self, name: str) -> bool:
        """Whether ``name`` answers now, as the supervisor sees it; False when there is no such service (yet)."""
        record = self._record()
        entry = record.entry(name) if record is not None else None
        return entry is not None and entry.state is State.READY

    def pids(self) -> dict[str, int]:
        """Name -> pid of all that runs; ``supervisor``, and a process's children as ``edges.1``, ``edges.2``."""
        found: dict[str, int] = {}
        record = self._record()
        if record is None:
            return found
        found["supervisor"] = record.supervisor.pid
        for entry in record.services:
            if entry.identity is not None and entry.identity.lives():
                found[entry.name] = entry.pid
                for number, pid in enumerate(children(entry.pid), start=1):
                    found[f"{entry.name}.{number}"] = pid
        return found

    def relay(self) -> None:
        """Hand the supervisor's new lines to ``report``."""
        if self._report is None or not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._read_to)
            whole, newline, _rest = file.read().rpartition(b"\n")
        self._read_to += len(whole) + len(newline)
        for line in whole.decode(errors="replace").splitlines():
            self._report(line)

    def _await(self, condition: Callable[[FleetRecord], bool], timeout_s: float, failure: str) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            self.relay()
            record = self._record()
            if record is not None and condition(record):
                return
            if self._process is None or self._process.poll() is not None:
                raise FleetError(f"the supervisor has ended: {self.last_words()}", remedy=f"see {self._log}")
            if time.monotonic() > deadline:
                raise FleetError(f"{failure} after {timeout_s:g} s", remedy=f"see {self._log.parent}")
            time.sleep(_POLL_S)

    def _record(self) -> FleetRecord | None:
        """The record of our own supervisor; one that an earlier supervisor left is none."""
        record = read_record(record_path(self._settings.data_dir))
        if record is None or self._process is None or record.supervisor.pid != self._process.pid:
            return None
        return record

    def _entry(self, name: str) -> Entry:
        record = self._record()
        entry = record.entry(name) if record is not None else None
        if entry is None:
            raise FleetError(f"the fleet has no service {name!r}", remedy="see pids()")
        return entry
