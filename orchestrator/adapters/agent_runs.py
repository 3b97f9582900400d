"""Agent runs on this node: started under the shim, found again after any restart, stopped with proof.

Everything is told from the run directory, so a worker that was born after the run started knows as much as the
one that started it. The shim is nobody's child here: it leaves the starter's family before it runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from orchestrator.adapters import procfs, shim, verdict_files
from orchestrator.adapters import run_directory as files
from orchestrator.adapters.agents.environment import agent_environment, read_credentials
from orchestrator.adapters.agents.sandbox import Sandboxes
from orchestrator.adapters.deaths import Deaths
from orchestrator.adapters.open_runs import OpenRuns
from orchestrator.adapters.shim_agent import Request
from orchestrator.domain.errors import ConfigurationError, PermanentError, TransientError, UsageError
from orchestrator.domain.ownership import Liveness, Owner
from orchestrator.domain.run_reports import RunReport
from orchestrator.ports import AgentCli, AgentRequest, Host, RunExit, RunOutput

OUTPUT_CAP: Final = 16 * 1024 * 1024
"""Bytes kept of each of stdout and stderr."""
GRACE_S: Final = 10.0
"""Seconds between asking an agent to end and forcing it, when the shim ends it by itself."""
_MIB: Final = 1024 * 1024
_SHORTEST_SECRET: Final = 6
"""Characters: masking anything shorter would garble the output and hide nothing."""
_START_S: Final = 5.0
_FINISH_S: Final = 15.0
"""Beyond the grace, for the sweep, the last output and the exit record."""
_KILL_S: Final = 5.0
_POLL_S: Final = 0.02
_PAGE: Final = 1024 * 1024


class LocalAgentRuns:
    """``ports.AgentRuns`` on a directory that holds one directory a run."""

    def __init__(
        self,
        base: Path,
        *,
        host: Host,
        clis: Mapping[str, AgentCli],
        search_path: str = os.defpath,
        sandboxes: Sandboxes | None = None,
        output_cap: int = OUTPUT_CAP,
        start_timeout_s: float = _START_S,
    ) -> None:
        """``search_path`` is the PATH that agents get, after a directory that holds ``orch`` alone; ``sandboxes`` hide
        what is the orchestrator's own from them."""
        self._base, self._host, self._clis = base, host, clis
        self._search_path, self._output_cap, self._start_timeout_s = search_path, output_cap, start_timeout_s
        self._sandboxes = sandboxes or Sandboxes((base,))
        self._open = OpenRuns(base)

    def start(self, request: AgentRequest) -> Owner:
        """Start the run, or find it when it was started before: the old verdict is deleted and the agent started
        once for a run directory, whoever calls this how often. Identity of the shim.

        Raises ConfigurationError (runtime or command), PermanentError (the shim refused, with its reason) and
        TransientError (it did not come up in time: look again, start again). A program that cannot be executed
        is no error here but an exit record with reason ``bad-start``.
        """
        if request.run_dir.parent != self._base:
            raise UsageError(f"{request.run_dir} is not a run directory of {self._base}")
        self._lay_out(request)
        code = _spawn(request.run_dir)
        return self._await_start(request.run_dir, code)

    def _lay_out(self, request: AgentRequest) -> None:
        """Under the lock of the directory: no agent runs while its verdict file is deleted."""
        for directory in (request.run_dir, *(request.run_dir / name for name in ("home", "tmp", "bin"))):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(request.run_dir) as ours:
            if not ours or _was_started(request.run_dir):
                return
            if request.home_of is not None:
                _take_over_home(request.home_of / "home", request.run_dir / "home")
            stored = self._stored(request)
            verdict_files.prepare(request.worktree, request.run_id)
            _link_orch(request.run_dir / "bin")
            (request.run_dir / files.PROMPT).write_text(request.prompt, encoding="utf-8")
            files.write_durably(str(request.run_dir / files.REQUEST), stored)

    def _stored(self, request: AgentRequest) -> dict[str, object]:
        cli = self._clis.get(request.spec.runtime)
        if cli is None:
            known = ", ".join(sorted(self._clis))
            raise ConfigurationError(
                f"agents.{request.stage}.runtime: is {request.spec.runtime!r}, known here: {known}"
            )
        command, credentials = cli.command(request), read_credentials(request.spec, request.stage)
        environment = agent_environment(
            run_id=request.run_id,
            stage=request.stage,
            run_dir=request.run_dir,
            search_path=self._search_path,
            additions={**command.environment, **request.spec.environment},
            credentials=credentials,
        )
        argv = self._sandboxes.around(request, command.argv, environment["PATH"])
        return Request(
            run_id=request.run_id,
            node=self._host.node,
            argv=list(argv),
            cwd=str(request.worktree),
            env=environment,
            wall_clock_s=request.spec.wall_clock_s,
            silence_s=request.spec.silence_s,
            output_cap=self._output_cap,
            gentle_signal=int(command.gentle_signal),
            grace_s=GRACE_S,
            file_size_limit=request.spec.file_size_mib * _MIB,
            memory_limit=request.spec.memory_mib * _MIB,
            process_limit=request.spec.processes,
            sandboxed=argv != command.argv,
            masks=[value for value in credentials.values() if len(value) >= _SHORTEST_SECRET],
        )._asdict()

    def _await_start(self, run_dir: Path, code: int) -> Owner:
        deadline = time.monotonic() + self._start_timeout_s
        while (owner := self.owner(run_dir)) is None:
            ended = self.exit_record(run_dir)
            if ended is not None:
                raise PermanentError(f"the agent was not started: {ended.detail}")
            if code not in (0, shim.EXIT_BUSY, shim.EXIT_SPENT):
                raise TransientError(f"the shim left with {code}: {_tail(run_dir / files.SHIM_LOG, 2000)}")
            if time.monotonic() >= deadline:
                raise TransientError(f"the shim did not come up in {self._start_timeout_s:g} s ({run_dir})")
            time.sleep(_POLL_S)
        return owner

    def owner(self, run_dir: Path) -> Owner | None:
        """Identity that the shim wrote, or None when it never came up."""
        stored = _read_json(run_dir / files.SHIM)
        if stored is None:
            return None
        return Owner(
            node=str(stored["node"]),
            boot_id=str(stored["boot_id"]),
            pid_ns=_number(stored["pid_ns"]),
            pid=_number(stored["pid"]),
            start_ticks=_number(stored["start_ticks"]),
        )

    def exit_record(self, run_dir: Path) -> RunExit | None:
        """How the run ended, or None while that is not known."""
        stored = _read_json(run_dir / files.EXIT)
        if stored is None:
            return None
        return RunExit(
            exit_code=None if stored["exit_code"] is None else _number(stored["exit_code"]),
            signal=None if stored["signal"] is None else _number(stored["signal"]),
            reason=str(stored["reason"]),
            ended_at=datetime.fromisoformat(str(stored["ended_at"])),
            strays=_number(stored["strays"]),
            detail=str(stored["detail"]),
        )

    def report(self, run_dir: Path, runtime: str) -> RunReport:
        """What the output of a run that ended tells; of a runtime that is not known here, nothing.

        Raises UsageError for a run that has not ended."""
        ended, cli = self.exit_record(run_dir), self._clis.get(runtime)
        if ended is None:
            raise UsageError(f"{run_dir.name} has not ended")
        if cli is None:
            return RunReport(ended=None)
        return cli.read(RunOutput(run_dir / files.STDOUT, run_dir / files.STDERR, ended))

    def so_far(self, run_dir: Path, runtime: str) -> RunReport:
        """What the stream of a run tells that has not ended, or whose end nobody saw."""
        cli = self._clis.get(runtime)
        if cli is None:
            return RunReport(ended=None)
        going_on = RunExit(exit_code=None, signal=None, reason="exited", ended_at=datetime.now(UTC), strays=0)
        return cli.read(RunOutput(run_dir / files.STDOUT, run_dir / files.STDERR, going_on))

    def stop(self, run_dir: Path, grace_s: float, *, over_budget: str = "") -> Sequence[str]:
        """End the run and everything it left behind; a line for each process seen dead.

        A run that never started never will. A run that ended by itself meanwhile gives its own proof. When the
        shim is dead or does not obey, its work is done here, and an exit record is left in its place.
        Raises TransientError when something could not be ended: the names are in the message.
        """
        if self.exit_record(run_dir) is not None:
            return self._proof(run_dir)
        files.write_durably(str(run_dir / files.STOP), {"grace_s": grace_s, "over_budget": over_budget})
        self._ask_shim(run_dir, grace_s + _FINISH_S)
        if self.exit_record(run_dir) is None:
            self._end_without_shim(run_dir)
        return self._proof(run_dir)

    def _ask_shim(self, run_dir: Path, timeout_s: float) -> None:
        """Returns when the exit record is there or the shim is not; kills a shim that does neither in time."""
        owner, deadline = self.owner(run_dir), time.monotonic() + timeout_s
        self._wake(owner)
        while self.exit_record(run_dir) is None and not _is_free(run_dir):
            if time.monotonic() >= deadline:
                owner = owner or self.owner(run_dir)
                if owner is None or not self._host.kill(owner, _KILL_S):
                    raise TransientError(f"the shim of {run_dir.name} neither stops nor can be ended: {owner}")
                return
            time.sleep(_POLL_S)

    def _wake(self, owner: Owner | None) -> None:
        """The stop file alone is enough, only later: a shim looks for it a few times a second."""
        if owner is not None and self._host.liveness(owner) is Liveness.ALIVE:
            with contextlib.suppress(PermissionError):
                procfs.send(owner.pid, owner.start_ticks, signal.SIGTERM)

    def _end_without_shim(self, run_dir: Path) -> None:
        """The lock is held meanwhile: no shim can start in this directory any more. An agent that was forked but not
        yet executed dies with its shim, and holds the lock for as long as that takes."""
        deadline = time.monotonic() + _KILL_S
        while not self._ended_under_lock(run_dir):
            if time.monotonic() >= deadline:
                raise TransientError(f"another process has taken the run {run_dir.name}")
            time.sleep(_POLL_S)

    def _ended_under_lock(self, run_dir: Path) -> bool:
        with _locked(run_dir) as ours:
            if ours and self.exit_record(run_dir) is None:
                proof = self._sweep(run_dir)
                files.write_durably(str(run_dir / files.EXIT), _record_for_dead_shim(proof))
            return ours

    def _sweep(self, run_dir: Path) -> list[str]:
        stored = _read_json(run_dir / files.SHIM)
        if stored is None or not Path("/proc/self/stat").exists():
            return []
        deaths = Deaths()
        swept = procfs.sweep(
            self._traces(stored),
            _FINISH_S,
            killing=lambda one: deaths.sent(one, signal.SIGKILL),
            seen_dead=deaths.seen_dead,
        )
        if swept.left:
            raise TransientError(f"could not be ended: {'; '.join(map(str, swept.left))}")
        return deaths.lines()

    def _traces(self, stored: Mapping[str, object]) -> procfs.Traces:
        """The agent's process group is one of them if that number can still mean it: same boot, same pid namespace,
        and its first leader's pid not in use by somebody else."""
        marker = files.marker_of(str(stored["run_id"]))
        leader, ticks = _number(stored["agent_pgid"]), _number(stored["agent_start_ticks"])
        if stored["boot_id"] != procfs.boot_id() or stored["pid_ns"] != procfs.pid_namespace():
            return procfs.Traces(marker)
        ours = procfs.group_is_ours(leader, ticks)
        return procfs.Traces(marker, groups=(leader,) if ours else (), since_ticks=ticks)

    def _proof(self, run_dir: Path) -> Sequence[str]:
        stored = _read_json(run_dir / files.EXIT) or {}
        lines = stored.get("seen_dead")
        return tuple(str(line) for line in lines) if isinstance(lines, list) else ()

    def is_running(self, run_dir: Path) -> bool:
        """False only when the run's shim is proven dead or never came up."""
        owner = self.owner(run_dir)
        return owner is not None and self._host.liveness(owner) is not Liveness.DEAD

    def output_tail(self, run_dir: Path, limit: int) -> str:
        """The end of what the agent printed, at most ``limit`` characters; stderr last, with at most a third."""
        printed, errors = _tail(run_dir / files.STDOUT, limit), _tail(run_dir / files.STDERR, limit // 3)
        return f"{printed}\n[stderr]\n{errors}"[-limit:] if errors else printed

    def lines(self, run_dir: Path, runtime: str, at: int, *, raw: bool = False) -> tuple[Sequence[str], int]:
        """Whole lines of the run's stdout from byte ``at`` on, readable or as they stand; and where to go on. A last
        line without its end is given once the run has ended. Less than 0: the lines within that many bytes of its
        end."""
        at = at if at >= 0 else _line_near_the_end(run_dir / files.STDOUT, -at)
        data = _from(run_dir / files.STDOUT, at)
        whole = data if self.exit_record(run_dir) is not None else data[: data.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", "replace").splitlines()
        cli = None if raw else self._clis.get(runtime)
        told = lines if cli is None else [words for line in lines if (words := cli.readable(line)) is not None]
        return told, at + len(whole)

    def finished(self) -> Iterator[Path]:
        """Run directories of this node that hold an exit record which nobody has acknowledged, oldest name first."""
        return (run_dir for run_dir in self._open if (run_dir / files.EXIT).exists())

    def acknowledge(self, run_dir: Path, *, keep_home: bool = False) -> None:
        """The outcome is in the database: ``finished`` need not name this run again. The agent's own home and
        temporary files go (``keep_home``: only the latter, a later run may go on with its session); output and
        records stay. Repeating it is harmless."""
        (run_dir / files.ACKNOWLEDGED).touch(mode=0o600)
        files.fsync_directory(str(run_dir))
        for name in ("tmp",) if keep_home else ("home", "tmp"):
            shutil.rmtree(run_dir / name, ignore_errors=True)

    def acknowledged(self, age_s: float) -> Sequence[Path]:
        """Run directories that were acknowledged more than ``age_s`` seconds ago, oldest first; lists them all."""
        before = time.time() - age_s
        marks = [(mark.stat().st_mtime, mark.parent) for mark in self._base.glob(f"*/{files.ACKNOWLEDGED}")]
        return [run_dir for moment, run_dir in sorted(marks) if moment < before]

    def forget(self, run_dir: Path) -> None:
        """Remove the directory of an acknowledged run with its output; one that is not acknowledged stays."""
        with _locked(run_dir) as ours:
            if ours and (run_dir / files.ACKNOWLEDGED).exists():
                shutil.rmtree(run_dir, ignore_errors=True)


@contextlib.contextmanager
def _locked(run_dir: Path) -> Iterator[bool]:
    """Hold the directory as a shim would; False when somebody else holds it."""
    fd = files.take_lock(str(run_dir))
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)


def _take_over_home(old: Path, new: Path) -> None:
    """Moved, not copied: a session has one run at a time. Repeating it is harmless."""
    if old.is_dir() and not any(new.iterdir()):
        old.replace(new)


def _is_free(run_dir: Path) -> bool:
    with _locked(run_dir) as ours:
        return ours


def _was_started(run_dir: Path) -> bool:
    return (run_dir / files.SHIM).exists() or (run_dir / files.EXIT).exists()


def _spawn(run_dir: Path) -> int:
    """Start the shim; the exit code of its first process, which ends as soon as the shim stands on its own.
    Its environment is empty, so that a shim is never taken for a process of a run."""
    arguments = [sys.executable, "-I", "-S", shim.__file__, str(run_dir)]
    with (run_dir / files.SHIM_LOG).open("ab") as log:
        first = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"LANG": "C.UTF-8"},
            start_new_session=True,
        )
    return first.wait()


def _link_orch(directory: Path) -> None:
    """``orch`` and nothing else of the orchestrator's own environment is on an agent's PATH."""
    program = Path(sys.executable).parent / "orch"
    with contextlib.suppress(FileExistsError):
        (directory / "orch").symlink_to(program)


def _record_for_dead_shim(proof: list[str]) -> dict[str, object]:
    return shim.exit_record("stopped", None, proof, len(proof), "the shim was dead; ended without it")


def _read_json(path: Path) -> dict[str, object] | None:
    """What stands there; None when nothing does. Records are renamed into place, so half of one never does."""
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise PermanentError(f"{path} is damaged: {error}") from error
    if not isinstance(stored, dict):
        raise PermanentError(f"{path} is damaged: not an object")
    return stored


def _number(value: object) -> int:
    if isinstance(value, int):
        return value
    raise PermanentError(f"a run record is damaged: {value!r} is not a number")


def _tail(path: Path, limit: int) -> str:
    """The last ``limit`` characters of a file that may not exist; UTF-8 takes at most four bytes for each."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4 * limit))
            return file.read().decode("utf-8", "replace")[-limit:]
    except FileNotFoundError:
        return ""


def _line_near_the_end(file: Path, within: int) -> int:
    """Where the first whole line within so many bytes of the end begins."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size <= within:
                return 0
            stream.seek(size - within)
            return size - within + len(stream.readline())
    except OSError:
        return 0


def _from(file: Path, at: int) -> bytes:
    """At most some pages of it: whoever follows comes again."""
    try:
        with file.open("rb") as stream:
            stream.seek(at)
            return stream.read(_PAGE)
    except OSError:
        return b""
