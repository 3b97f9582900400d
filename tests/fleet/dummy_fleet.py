"""A supervisor over small dummy services: `python -m tests.fleet.dummy_fleet DATA_DIR name:behaviour:rank…`.

Each dummy appends a line to `DATA_DIR/events` for what happens to it. Behaviours are below.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from orchestrator.domain.errors import OrchestratorError
from orchestrator.fleet import Rank, Service, Supervisor
from orchestrator.fleet.lock import DataDirLock
from orchestrator.fleet.record import end_leftovers, record_path

_PRELUDE = """
import os, pathlib, signal, subprocess, sys, time
name, here = sys.argv[1], pathlib.Path(sys.argv[2])
def note(what):
    with open(here / "events", "a") as file:
        file.write(f"{name} {what}\\n")
def up():
    note("up")
    (here / f"{name}.up").touch()
def leave(number, frame):
    note("down")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
def serve():
    up()
    while True:
        signal.pause()
def start(seconds, **options):
    return subprocess.Popen([sys.executable, "-ISc", f"import time; time.sleep({seconds})"], **options).pid
"""
_BEHAVIOURS = {
    "serve": "serve()",
    "slow": "time.sleep(0.4); serve()",
    # Waits for its work on SIGTERM, leaves at SIGQUIT.
    "busy": """
signal.signal(signal.SIGTERM, lambda number, frame: note("asked"))
def hurry(number, frame):
    note("hurried")
    sys.exit(0)
signal.signal(signal.SIGQUIT, hurry)
serve()""",
    "deaf": "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGQUIT, signal.SIG_IGN); serve()",
    "broken": "print('no such setting'); sys.exit(3)",
    # Serves the first time and never again.
    "once_only": "sys.exit(3) if (here / 'second').exists() else (here / 'second').touch(); serve()",
    "step": "note('done')",
    "failing_step": "print('the schema is newer than this program'); sys.exit(4)",
    "parent": "note(f'child {start(600)}'); serve()",
    "launcher": "note(f'agent {start(600, start_new_session=True)}'); serve()",
}


def dummy(data_dir: Path, name: str, behaviour: str, rank: Rank) -> Service:
    """One service of that behaviour."""
    mark = data_dir / f"{name}.up"
    patience = 60.0 if (data_dir / "patient").exists() else 0.5
    return Service(
        name=name,
        argv=(sys.executable, "-ISc", _PRELUDE + _BEHAVIOURS[behaviour], name, str(data_dir)),
        env={},
        rank=rank,
        ready=mark.exists,
        prepare=lambda: mark.unlink(missing_ok=True),
        grace_s=patience,
        hurry_signal=signal.SIGQUIT if rank is Rank.WORKERS else None,
        hurry_grace_s=patience,
        restart=not behaviour.endswith("step"),
    )


def report(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(data_dir: Path, wanted: list[str]) -> int:
    """Run the services that ``wanted`` describes; ticks count as stale while the file `stale` exists."""
    services = []
    for text in wanted:
        name, behaviour, rank = text.split(":")
        services.append(dummy(data_dir, name, behaviour, Rank[rank]))
    try:
        with DataDirLock(data_dir):
            end_leftovers(record_path(data_dir), report)
            stale = (data_dir / "stale").exists
            supervisor = Supervisor(services, data_dir, report, stale_ticks=stale, tick_check_s=0.1)
            return supervisor.run(on_ready=lambda: report("all ready"))
    except OrchestratorError as error:
        report(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
