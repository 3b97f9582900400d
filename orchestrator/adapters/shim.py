"""The shim: a small process beside each agent, which outlives every part of the orchestrator.

``python -I -S shim.py RUN_DIR`` reads RUN_DIR/request.json, starts the agent once, keeps what it prints, ends it
at its limits or when asked, ends whatever it left behind, and writes down how it ended. It needs neither
broker nor database, and only the standard library without site-packages: each run pays for its start.

Files in RUN_DIR: ``request.json`` and ``prompt.md`` (from the starter), ``lock`` (held while the shim lives),
``shim.json`` (who the shim and the agent are, durable before the agent starts), ``stdout.log``, ``stderr.log``,
``stop`` (asks for the end; may hold ``{"grace_s": 3}``), ``exit.json`` (the exit record, durable).
A SIGTERM to the shim asks for the end as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable

if __package__ in (None, ""):  # started by path: the package is found beside this file, after the standard library
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from orchestrator.adapters import procfs
from orchestrator.adapters import run_directory as files
from orchestrator.adapters.deaths import Deaths
from orchestrator.adapters.shim_agent import Agent, Mask, Output, Request, adopt_orphans, fork_agent

EXIT_BUSY = 75
"""Another shim runs in this directory."""
EXIT_SPENT = 76
"""A shim ran in this directory before; an agent is never started twice."""
EXIT_FAILED = 70
"""The shim itself failed; shim.log says why."""

_CHUNK = 64 * 1024
_TICK_S = 0.5
"""How often limits and the stop file are looked at; signals and output are seen at once."""
_COUNT_S = 2.0
_SWEEP_S = 10.0
_DRAIN_S = 2.0
_ORPHANS_S = 2.0
_WRITE_TRIES = 120
"""Seconds for which an exit record is tried again: a full disk must not lose the outcome of hours of work."""


class RequestError(Exception):
    """request.json or the prompt cannot be used."""


class Mailbox:
    """Signals to the shim, as bytes in a pipe that can be polled. SIGTERM asks for the end; what a terminal
    sends on Ctrl-C or on its closing is not meant for agents."""

    def __init__(self) -> None:
        self.fd, writer = os.pipe()
        self.stop_asked = False
        os.set_blocking(self.fd, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._ask_stop)
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def _ask_stop(self, signum: int, frame: object) -> None:
        self.stop_asked = True


class Watch:
    """Follows one agent from its start to its end."""

    def __init__(self, request: Request, prompt: bytes, agent: Agent, mailbox: Mailbox) -> None:
        self._request, self._agent, self._mailbox = request, agent, mailbox
        self._prompt = memoryview(prompt)
        self._outputs = {
            agent.stdout: Output(files.STDOUT, request.output_cap, Mask(request.masks)),
            agent.stderr: Output(files.STDERR, request.output_cap, Mask(request.masks)),
        }
        self._poll = select.poll()
        for fd in (*self._outputs, mailbox.fd):
            self._poll.register(fd, select.POLLIN)
        self._poll.register(agent.stdin, select.POLLOUT)
        self._started = self._last_sign = time.monotonic()
        self._next_look = 0.0
        self._ending: list[tuple[float, Callable[[], None]]] = []
        self._deaths = Deaths()
        self._orphans: dict[tuple[int, int], procfs.Process] = {}
        self.reason = self.detail = ""
        self._next_count = 0.0

    def follow(self) -> int:
        """Until the agent's main process has ended; its exit code."""
        while (code := self._agent.exit_code()) is None:
            self._pump(self._patience())
            self._judge(time.monotonic())
        self._deaths.seen_dead(procfs.look(self._agent.pid))
        return code

    def finish(self) -> procfs.Swept:
        """End what the agent left behind, then read what is still in the pipes: a stray may have held them."""
        self._end_orphans()
        swept = procfs.sweep(
            _traces_of(self._request, self._agent),
            _SWEEP_S,
            self._end_orphans,
            lambda one: self._deaths.sent(one, signal.SIGKILL),
            self._deaths.seen_dead,
        )
        deadline = time.monotonic() + _DRAIN_S
        while self._outputs and time.monotonic() < deadline:
            self._pump(0.05)
        for fd in list(self._outputs):
            self._close(fd)
        dead = {**self._orphans, **{(one.pid, one.start_ticks): one for one in swept.dead}}
        return procfs.Swept(list(dead.values()), swept.left)

    def proof(self) -> list[str]:
        """A line for each process of this run that was seen dead. The agent's number is given back only here."""
        lines = self._deaths.lines()
        os.waitpid(self._agent.pid, os.WNOHANG)
        return lines

    def _reap_orphans(self) -> None:
        """Orphans of the agent come to the shim. The agent itself stays unreaped, see ``Agent.exit_code``."""
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid == self._agent.pid:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)

    def _end_orphans(self) -> None:
        """Once the agent has ended, whatever loses its parent comes here: end it at once, so that even a process that
        forks and leaves all the time cannot run ahead of us. An unreaped child's pid cannot be reused."""
        deadline = time.monotonic() + _ORPHANS_S
        while orphans := [pid for pid in procfs.children_of(os.getpid()) if pid != self._agent.pid]:
            for pid in orphans:
                self._end_orphan(pid)
            if time.monotonic() >= deadline:
                return

    def _end_orphan(self, pid: int) -> None:
        seen = procfs.look(pid)
        with contextlib.suppress(PermissionError):
            os.kill(pid, signal.SIGKILL)
        if seen and not seen.has_ended:
            self._orphans[pid, seen.start_ticks] = seen
            self._deaths.sent(seen, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

    def _patience(self) -> float:
        """Seconds until there is something to do even if nothing happens."""
        next_step = self._ending[0][0] - time.monotonic() if self._ending else _TICK_S
        return min(_TICK_S, max(0.0, next_step))

    def _pump(self, timeout_s: float) -> None:
        for fd, _ in self._poll.poll(timeout_s * 1000):
            if fd in self._outputs:
                self._read(fd)
            elif fd == self._mailbox.fd:
                os.read(fd, _CHUNK)
                self._reap_orphans()
            else:
                self._feed()

    def _read(self, fd: int) -> None:
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        if chunk:
            self._last_sign = time.monotonic()
            self._outputs[fd].take(chunk)
        else:
            self._close(fd)

    def _close(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._outputs.pop(fd).close()
        os.close(fd)

    def _feed(self) -> None:
        """Give the prompt in pieces, then close: an agent on an open pipe may wait for more for ever."""
        try:
            self._prompt = self._prompt[os.write(self._agent.stdin, self._prompt[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:
            self._prompt = memoryview(b"")
        if not self._prompt:
            self._poll.unregister(self._agent.stdin)
            os.close(self._agent.stdin)

    def _judge(self, now: float) -> None:
        if not self.reason:
            self.reason = self._why_end(now)
            if self.reason:
                self._begin_ending(now)
        while self._ending and now >= self._ending[0][0]:
            self._ending.pop(0)[1]()

    def _why_end(self, now: float) -> str:
        request = self._request
        if request.wall_clock_s and now - self._started > request.wall_clock_s:
            return "timed-out"
        if request.silence_s and now - self._last_sign > request.silence_s:
            return "silent"
        if self._mailbox.stop_asked or self._finds_stop_file(now):
            self.detail = _asked_because()
            return "over-budget" if self.detail else "stopped"
        return self._over_limit(now)

    def _over_limit(self, now: float) -> str:
        """Memory and processes of everything below the shim, counted every few seconds: a group of a kernel that
        would count them is not to be had everywhere."""
        request = self._request
        if now < self._next_count or not (request.memory_limit or request.process_limit):
            return ""
        self._next_count = now + _COUNT_S
        pids = procfs.descendants_of(os.getpid())
        memory = sum(map(procfs.resident_bytes, pids))
        for figure, limit, what in (
            (len(pids), request.process_limit, "processes"),
            (memory, request.memory_limit, "bytes of memory"),
        ):
            if limit and figure > limit:
                self.detail = f"it had {figure} {what}, at most {limit} are allowed"
                return "over-limit"
        return ""

    def _finds_stop_file(self, now: float) -> bool:
        """Looked for a few times a second, however often output wakes the shim."""
        if now < self._next_look:
            return False
        self._next_look = now + _TICK_S
        return os.path.exists(files.STOP)

    def _begin_ending(self, now: float) -> None:
        """Gently first (to the main process: some agents save their session on it), then the group, then by force.
        What has left the group is ended by the sweep, once the main process is gone."""
        self._deaths.know(*procfs.strays(_traces_of(self._request, self._agent)))
        grace = _asked_grace(self._request.grace_s)
        gentle = self._request.gentle_signal
        if self._request.sandboxed:
            # bubblewrap dies of any signal and takes all inside with it, so the program inside is asked.
            self._ending.append((now, lambda: self._signal_inside(gentle)))
        elif gentle != signal.SIGTERM:
            self._ending.append((now, lambda: self._signal_agent(gentle)))
            now, grace = now + grace / 2, grace / 2
            self._ending.append((now, lambda: self._signal_group(signal.SIGTERM)))
        else:
            self._ending.append((now, lambda: self._signal_group(signal.SIGTERM)))
        self._ending.append((now + grace, lambda: self._signal_group(signal.SIGKILL)))

    def _signal_agent(self, signum: int) -> None:
        self._deaths.sent(procfs.look(self._agent.pid), signum)
        os.kill(self._agent.pid, signum)

    def _signal_inside(self, signum: int) -> None:
        """The agent's own program: the child of the first process of the sandbox's pid namespace."""
        for first in procfs.children_of(self._agent.pid):
            for pid in procfs.children_of(first):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    self._deaths.sent(procfs.look(pid), signum)
                    os.kill(pid, signum)
                    os.kill(pid, signal.SIGCONT)

    def _signal_group(self, signum: int) -> None:
        """The group exists: its leader is our child and not reaped. A stopped process needs SIGCONT to see SIGTERM."""
        for one in procfs.processes():
            if one.pgid == self._agent.pid and not one.has_ended:
                self._deaths.sent(one, signum)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._agent.pid, signum)
            os.killpg(self._agent.pid, signal.SIGCONT)


def _asked_grace(default: float) -> float:
    """The grace named in the stop file, if it names one."""
    try:
        with open(files.STOP, encoding="utf-8") as file:
            return max(0.0, float(json.load(file)["grace_s"]))
    except (OSError, ValueError, TypeError, KeyError):
        return default


def _asked_because() -> str:
    """The figure of the budget that the run is ended for; empty when somebody just asked for its end."""
    try:
        with open(files.STOP, encoding="utf-8") as file:
            return str(json.load(file)["over_budget"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def read_request() -> tuple[Request, bytes]:
    """The request and the prompt. Raises RequestError."""
    try:
        with open(files.REQUEST, encoding="utf-8") as file:
            request = Request(**json.load(file))
        with open(files.PROMPT, "rb") as file:
            return request, file.read()
    except (OSError, ValueError, TypeError) as error:
        raise RequestError(f"request.json or prompt.md cannot be used: {error}") from error


def exit_record(reason: str, code: int | None, proof: list[str], strays: int, detail: str) -> dict[str, object]:
    """The exit record as it is stored. A negative ``code`` is the signal that ended the agent."""
    return {
        "schema": "exit/1",
        "reason": reason,
        "exit_code": code if code is not None and code >= 0 else None,
        "signal": -code if code is not None and code < 0 else None,
        "ended_at": files.utc_now(),
        "strays": strays,
        "detail": detail,
        "seen_dead": proof,
    }


def supervise() -> dict[str, object]:
    """Run the agent of this directory from its start to the last of its processes; the exit record.

    Raises RequestError. Whatever else goes wrong, no process of the agent is left when this raises.
    """
    request, prompt = read_request()
    if os.path.exists(files.STOP):
        return exit_record("stopped", None, [], 0, "asked to stop before the agent was started")
    mailbox = Mailbox()
    adopt_orphans()
    agent = fork_agent(request)
    try:
        files.write_durably(files.SHIM, _identity(request, agent))
        if problem := agent.start():
            return exit_record("bad-start", 127, [], 0, problem)
        return _watched(Watch(request, prompt, agent, mailbox))
    except BaseException:
        procfs.sweep(_traces_of(request, agent), _SWEEP_S)
        raise


def _traces_of(request: Request, agent: Agent) -> procfs.Traces:
    return procfs.Traces(files.marker_of(request.run_id), (agent.pid,), (os.getpid(),), agent.start_ticks)


def _watched(watch: Watch) -> dict[str, object]:
    code = watch.follow()
    swept = watch.finish()
    left = f"could not be ended: {'; '.join(map(str, swept.left))}" if swept.left else ""
    detail = "; ".join(filter(None, (watch.detail, left)))
    return exit_record(watch.reason or "exited", code, watch.proof(), len(swept.dead), detail)


def _identity(request: Request, agent: Agent) -> dict[str, object]:
    myself = procfs.look(os.getpid())
    return {
        "schema": "shim/1",
        "run_id": request.run_id,
        "node": request.node,
        "boot_id": procfs.boot_id(),
        "pid_ns": procfs.pid_namespace(),
        "pid": os.getpid(),
        "start_ticks": myself.start_ticks if myself else 0,
        "agent_pgid": agent.pid,
        "agent_start_ticks": agent.start_ticks,
        "started_at": files.utc_now(),
    }


def _leave_record(record: dict[str, object]) -> None:
    for _ in range(_WRITE_TRIES):
        try:
            files.write_durably(files.EXIT, record)
            return
        except OSError as error:
            sys.stderr.write(f"exit record not written yet: {error}\n")
            time.sleep(1)


def run() -> int:
    """The shim's life after it has the directory; its own exit code."""
    try:
        _leave_record(supervise())
    except RequestError as error:
        _leave_record(exit_record("bad-start", None, [], 0, str(error)))
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        _leave_record(exit_record("bad-start", None, [], 0, f"the shim failed: {error!r}"))
        return EXIT_FAILED
    return 0


def main(arguments: list[str]) -> int:
    """Take the directory, leave the starter's family (nobody there has to reap the shim), and run."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -I -S shim.py RUN_DIR\n")
        return 2
    os.chdir(arguments[0])  # every file named below is in the run directory
    if files.take_lock() is None:
        return EXIT_BUSY
    if any(os.path.exists(name) for name in (files.SHIM, files.EXIT)):
        return EXIT_SPENT
    if os.fork():
        os._exit(0)  # the lock stays with the child
    os.setsid()
    procfs.hide_this_process()  # an agent of the same user must not take its own supervisor over
    return run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
