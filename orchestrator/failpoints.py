"""Named points at which a test makes a process die, stop, fail or wait.

``hit`` costs one look at an empty dictionary when nothing is armed. The text is that of ``ORCH_FAILPOINTS``:
``name=action[@N]``, comma-separated; N is the hit of this process that fires (the first when it is not given).
The variable is read when this module is imported, so that every kind of process has its points, also one that
reads no settings; what is wrong with it is reported by ``settings``.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from orchestrator.domain.errors import ConfigurationError, OrchestratorError, TransientError
from orchestrator.domain.stages import EDGES, START_GATES, EffectKind

_GATES: Final = sorted({*START_GATES, *(gate for edge in EDGES for gate in edge.gates)})
POINTS: Final = frozenset(
    {
        *(f"lease.{moment}" for moment in ("wanted", "acquired", "released")),
        "stage.before_commit",
        "stage.after_commit",
        "inbox.committed",
        *(f"gate.{gate}.{moment}" for gate in _GATES for moment in ("before", "after")),
        *(
            f"effect.{kind}.{moment}"
            for kind in EffectKind
            for moment in ("claimed", "looked", "sent", "answered", "confirmed")
        ),
        *(f"job.{moment}" for moment in ("claimed", "spawned", "exited", "finished")),
        *(f"deploy.{moment}" for moment in ("won", "done")),
        *(f"stop.{moment}" for moment in ("requested", "waited", "revoked", "cleaned")),
    }
)
"""Every legal point, with the names of gates and kinds of effects filled in."""

ACTIONS: Final = ("kill", "stop", "raise", "sleep:SECONDS", "hang", "drop_answer", "enospc", "wait:FILE")
_ENTRY: Final = re.compile(r"(?P<name>[^=]*)=(?P<action>[a-z_]+)(?::(?P<argument>.*?))?(?:@(?P<hit>\d+))?", re.DOTALL)
_POLL_S: Final = 0.02


class FailpointError(OrchestratorError):
    """What the action ``raise`` raises: an error that no code expects."""


@dataclass(slots=True)
class _Armed:
    action: str
    argument: str
    fires_at: int
    hits: int = 0


_armed: Final[dict[str, _Armed]] = {}
_watchers: Final[list[Callable[[str], None]]] = []
_counting: Final = threading.Lock()


def hit(name: str) -> None:
    """The process is at the point ``name``. Returns at once unless that point is armed and this is its hit."""
    if not _armed and not _watchers:
        return
    if name not in POINTS:
        raise ConfigurationError(f"failpoint {name!r} is not in failpoints.POINTS", remedy="add it to the list")
    for watcher in _watchers:
        watcher(name)
    point = _armed.get(name)
    if point is None:
        return
    with _counting:
        point.hits += 1
        fires = point.hits == point.fires_at
    if fires:
        _fire(name, point)


def watch(watcher: Callable[[str], None] | None) -> None:
    """Call ``watcher`` at every point that a thread of this process comes to; None ends that. For a test that decides
    itself who goes on from a point and when: ``watcher`` returns when the thread may, or raises to end it there."""
    _watchers.clear()
    if watcher is not None:
        _watchers.append(watcher)


def arm(text: str, *, production: bool = False) -> None:
    """Replace what is armed by ``text``; the empty text disarms all. Raises ConfigurationError."""
    points, problems = parse(text)
    if text and production:
        problems.append("is for tests and refused while ORCH_ENV=production: unset one of them")
    if problems:
        raise ConfigurationError([f"ORCH_FAILPOINTS: {problem}" for problem in problems])
    _armed.clear()
    _armed.update(points)


def parse(text: str) -> tuple[Mapping[str, _Armed], list[str]]:
    """Points by name, and a line for each entry that is wrong."""
    points: dict[str, _Armed] = {}
    problems: list[str] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        found = _ENTRY.fullmatch(entry)
        problem = _problem(entry, found)
        if found and not problem:
            points[found["name"]] = _Armed(found["action"], found["argument"] or "", int(found["hit"] or 1))
        else:
            problems.append(f"{entry!r}: {problem}")
    return points, problems


def _problem(entry: str, found: re.Match[str] | None) -> str:
    if found is None:
        return "is not name=action[@N]"
    if found["name"] not in POINTS:
        near = get_close_matches(found["name"], POINTS, n=1)
        return f"no such point{f', did you mean {near[0]}?' if near else ''}"
    if found["hit"] == "0":
        return "hits are counted from 1"
    return _action_problem(found["action"], found["argument"])


def _action_problem(action: str, argument: str | None) -> str:
    if action == "sleep":
        return "" if re.fullmatch(r"\d+(\.\d+)?", argument or "") else "sleep takes seconds, as sleep:0.5"
    if action == "wait":
        return "" if argument else "wait takes the path of a file, as wait:/tmp/go"
    if action in ACTIONS and argument is None:
        return ""
    return f"allowed actions are {', '.join(ACTIONS)}"


def _fire(name: str, point: _Armed) -> None:
    match point.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise FailpointError(f"failpoint {name}")
        case "drop_answer":
            raise TransientError(f"failpoint {name}: the answer was lost", remedy="look before anything else")
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"failpoint {name}")
        case "sleep":
            time.sleep(float(point.argument))
        case "wait":
            _wait_for(Path(point.argument))
        case _:
            _hang()


def _wait_for(file: Path) -> None:
    """Say by ``<file>.reached`` that the point is reached, then wait until ``file`` exists."""
    file.with_name(f"{file.name}.reached").touch()
    while not file.exists():
        time.sleep(_POLL_S)


def _hang() -> None:
    while True:
        time.sleep(3600)


def _arm_from_environment() -> None:
    points, problems = parse(os.environ.get("ORCH_FAILPOINTS", ""))
    if not problems and os.environ.get("ORCH_ENV") != "production":
        _armed.update(points)


_arm_from_environment()
