"""Starts a program that is nobody's child: ``python -I -S detach.py PROGRAM [ARGUMENT…]``.

This process leaves at once, so that the program belongs to init, in a session of its own: no restart, signal or
death of who asked for it reaches it. Standard library only, and little of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn


def _default_signals() -> None:
    """A Celery child ignores SIGINT, and what is ignored stays ignored through exec."""
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def main(argv: list[str]) -> NoReturn:
    """Fork, leave, and let the child become ``argv``; the log that stderr leads to tells when it cannot."""
    if os.fork():
        os._exit(0)
    try:
        os.setsid()
        _default_signals()
        os.execv(argv[0], argv)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(2, f"{argv[:1]} cannot be started: {error}\n".encode())
    finally:
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
