"""Start a direct child that cannot outlive its parent.

Each child leads its own session (a Ctrl-C in the terminal reaches only the supervisor, which stops things in
order) and asks the kernel for a signal when the parent goes (Linux; elsewhere the plane file of the fleet
does that work at the next start).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.embedded.run_as import RunAs

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    death_signal: int = signal.SIGKILL,
    cwd: Path | None = None,
    run_as: RunAs | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` with exactly ``env``; stdout and stderr are appended to ``log`` (mode 0600).

    ``stdin`` may be ``subprocess.PIPE``, for a child that is told something later.

    ``death_signal`` is sent by the kernel when the *thread* that called this ends: call it from a thread that
    lives as long as the child should (the main thread). Raises OSError when the program cannot be started.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_before_exec(os.getpid(), death_signal, run_as),  # noqa: PLW1509  # callers have no threads
        )
    finally:
        os.close(output)


def _before_exec(parent: int, death_signal: int, run_as: RunAs | None) -> Callable[[], None]:
    def prepare() -> None:
        _default_signals()
        if run_as is not None:
            run_as.become()
        # After become(): a change of user clears the parent death signal.
        if sys.platform == "linux":
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)  # the parent went before the kernel knew whom to watch

    return prepare


def _default_signals() -> None:
    # An ignored signal is inherited through exec: started under nohup or from a Celery child, a store would
    # never see the SIGINT or SIGHUP that is meant to stop it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
