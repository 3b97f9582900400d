"""Loaded into each worker by its command line (`-I`): says by a file that the worker takes messages.

A file, because the supervisor has no broker connection and must not import Celery for this alone.
"""

from __future__ import annotations

from pathlib import Path

from celery.signals import worker_ready

from orchestrator.fleet.ready_mark import ready_mark


def _announce(sender: object, **_given: object) -> None:
    name = str(getattr(sender, "hostname", "")).partition("@")[0]
    # The supervisor starts each service in the data directory, and removes the mark before each start.
    mark = ready_mark(Path.cwd(), name)
    if mark.parent.is_dir():  # started by hand elsewhere: nobody waits
        mark.touch()


worker_ready.connect(_announce, weak=False)
