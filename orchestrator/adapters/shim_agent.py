"""The part of the shim that is next to the agent: its fork, its way to exec, and the files its output goes to.

Standard library only, and little of it: the shim imports this module.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from typing import NamedTuple, NoReturn

from orchestrator.adapters import procfs

_TAIL = 128 * 1024
"""Bytes of the end of an output that are kept when its middle is cut: the last lines carry the outcome."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_NOT_STARTED = 127


class Request(NamedTuple):
    """What request.json holds. Times in seconds, sizes in bytes; a limit of 0 is off."""

    run_id: str
    node: str
    argv: list[str]
    cwd: str
    env: dict[str, str]
    wall_clock_s: float
    silence_s: float
    output_cap: int
    gentle_signal: int
    grace_s: float
    file_size_limit: int
    memory_limit: int = 0
    process_limit: int = 0
    sandboxed: bool = False
    masks: list[str] = []  # noqa: RUF012  # a named tuple's default is never changed


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the agent is merely not tied to the shim."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """From now on, processes below this one that lose their parent become its children, whatever their session."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


class Mask:
    """Puts stars where a secret stands, also one that comes in two pieces; it is never written anywhere."""

    def __init__(self, secrets: list[str]) -> None:
        self._secrets = sorted((one.encode() for one in secrets), key=len, reverse=True)
        self._overlap = max((len(one) for one in self._secrets), default=1) - 1
        self._held = b""

    def take(self, chunk: bytes) -> bytes:
        """What may be written now: all but an end that could be the beginning of a secret."""
        held = self._stars(self._held + chunk)
        keep = self._unsafe_end(held)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def rest(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def _stars(self, data: bytes) -> bytes:
        for one in self._secrets:
            data = data.replace(one, b"****")
        return data

    def _unsafe_end(self, data: bytes) -> int:
        """Bytes at the end that a secret begins with; an agent's last line must not wait for nothing."""
        for length in range(min(self._overlap, len(data)), 0, -1):
            if any(one.startswith(data[-length:]) for one in self._secrets):
                return length
        return 0


class Output:
    """One output of the agent: its first bytes in a file, and when there are too many, its last ones too."""

    def __init__(self, path: str, cap: int, mask: Mask) -> None:
        self._mask = mask
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._room = max(0, cap - _TAIL)
        self._tail = bytearray()
        self._cut = 0

    def take(self, chunk: bytes) -> None:
        self._keep(self._mask.take(chunk))

    def _keep(self, chunk: bytes) -> None:
        head, rest = chunk[: self._room], chunk[self._room :]
        self._room -= len(head)
        self._write(head)
        self._tail += rest
        surplus = len(self._tail) - _TAIL
        if surplus > _TAIL:  # cut rarely, in large pieces
            self._cut += surplus
            del self._tail[:surplus]

    def close(self) -> None:
        self._keep(self._mask.rest())
        surplus = max(0, len(self._tail) - _TAIL)
        self._cut += surplus
        if self._cut:
            self._write(f"\n[... {self._cut} bytes cut by the orchestrator ...]\n".encode())
        self._write(bytes(self._tail[surplus:]))
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        """A full disk costs output, never the watch over the agent."""
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except OSError:
                self._cut += len(data)
                return


class Agent(NamedTuple):
    """The agent's main process, forked but not yet told to go. ``stdin``, ``stdout``, ``stderr`` are our ends."""

    pid: int
    start_ticks: int
    stdin: int
    stdout: int
    stderr: int
    go: int
    failed: int

    def start(self) -> str:
        """Let it execute its program; what went wrong, empty when nothing did."""
        os.write(self.go, b"g")
        os.close(self.go)
        with open(self.failed, "rb") as report:
            return report.read().decode("utf-8", "replace")

    def exit_code(self) -> int | None:
        """Its exit code (negative: the signal) once it ended. It stays a zombie, so that its pid and group number
        stay reserved for as long as somebody may be signalled by them."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def fork_agent(request: Request) -> Agent:
    """Fork the agent up to the point just before its program starts: its identity can be written down first."""
    stdin, stdout, stderr, go, failed = os.pipe(), os.pipe(), os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        for ours in (stdin[1], stdout[0], stderr[0], go[1], failed[0]):
            os.close(ours)
        _become_agent(request, (stdin[0], stdout[1], stderr[1]), go[0], failed[1])
    for theirs in (stdin[0], stdout[1], stderr[1], go[0], failed[1]):
        os.close(theirs)
    for pipe in (stdin[1], stdout[0], stderr[0]):
        os.set_blocking(pipe, False)
    seen = procfs.look(pid)
    return Agent(pid, seen.start_ticks if seen else 0, stdin[1], stdout[0], stderr[0], go[1], failed[0])


def _become_agent(request: Request, streams: tuple[int, int, int], go: int, failed: int) -> NoReturn:
    """Runs in the child: a session of its own, default signals, no way to more rights."""
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # before the wait below, which ends if the shim is gone already
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        if not os.read(go, 1):
            os._exit(_NOT_STARTED)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        _set_limits(request)
        _default_signals()
        os.umask(0o077)
        os.chdir(request.cwd)
        os.execvpe(request.argv[0], request.argv, request.env)  # noqa: S606 - no shell is the point
    except BaseException as error:  # nothing may unwind into the shim's own code in the child
        os.write(failed, f"{request.argv[:1]} cannot be started in {request.cwd}: {error}".encode())
    finally:
        os._exit(_NOT_STARTED)


def _set_limits(request: Request) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request.file_size_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request.file_size_limit, request.file_size_limit))


def _default_signals() -> None:
    """What was ignored above us (SIGINT in a Celery child, SIGPIPE in Python) would stay ignored in the agent."""
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
