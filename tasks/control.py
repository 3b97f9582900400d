"""``celery -A tasks inspect leases|runs|queue`` and ``control release_lease|nudge|pause|resume|panic|calm|drain_node``.

They run in the main process of each worker, between its messages: a fast connection, one statement or two, an answer.
Every worker that is asked acts, so each act is one that may be repeated. Arguments are ``name=value`` texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, wraps
from typing import Any, Final, TypeAlias

from celery.worker.control import control_command, inspect_command
from sqlalchemy.exc import OperationalError

from orchestrator import logs
from orchestrator.domain.errors import LostRaceError, OrchestratorError, UsageError
from orchestrator.engine import operator
from orchestrator.engine.context import Engine
from orchestrator.store import leases, read_models
from orchestrator.store.database import connect_briefly
from tasks.base import engine, settings

Reply: TypeAlias = dict[str, str]
_BY: Final = "celery control"


@cache
def _engine() -> Engine:
    """The engine of this process on a store that answers within seconds or not at all."""
    return replace(engine(), store=connect_briefly(settings().database_url or ""))


def answers(act: Callable[..., object], allowed: Sequence[str] = ()) -> Callable[..., object]:
    """``act`` as a command: its words checked, its errors told as ``{"error": …}`` instead of a traceback."""

    @wraps(act)
    def command(_state: Any, words: Sequence[str] | None = None, **given: Any) -> object:
        try:
            return read_models.plain(act(**_named(allowed, words or (), given)))
        except OrchestratorError as error:
            return {"error": str(error)}
        except OperationalError as error:
            return {"error": f"the database does not answer: {logs.masked(str(error.orig)).strip()}"}

    return command


def _named(allowed: Sequence[str], words: Sequence[str], given: Mapping[str, Any]) -> dict[str, str]:
    """``name=value`` words, and bare ones in the order of ``allowed``."""
    found = {str(name): str(value) for name, value in given.items()}
    free = iter([name for name in allowed if not any(word.startswith(f"{name}=") for word in words)])
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            name, value = next(free, word), word
        found[name] = value
    wrong = sorted(set(found) - set(allowed))
    if wrong:
        raise UsageError(f"{wrong[0]!r} is not an argument", remedy=f"give {' '.join(f'{one}=…' for one in allowed)}")
    return found


def _inspect(name: str, act: Callable[..., object]) -> None:
    inspect_command(name=name)(answers(act))


def _control(name: str, act: Callable[..., object], *allowed: str) -> None:
    signature = " ".join(f"[{one}=…]" for one in allowed)
    control_command(name=name, variadic="words", signature=signature)(answers(act, allowed))


def _leases() -> list[object]:
    """Held transition leases, and whether each owner lives, as seen from this node."""
    found = _engine()
    with found.store.transaction() as connection:
        rows = read_models.live_leases(connection)
        owners = {lease.task_id: lease.owner for lease in leases.held_leases(connection)}
    return [{**asdict(row), "liveness": _liveness(found, owners.get(row.task_id))} for row in rows]


def _liveness(found: Engine, owner: Any) -> str:
    return "unknown" if owner is None or owner.node != found.host.node else str(found.host.liveness(owner))


def _runs() -> object:
    """Live agent runs, queued ones included."""
    with _engine().store.transaction() as connection:
        return read_models.live_runs(connection)


def _queue() -> object:
    """The same as GET /queue."""
    with _engine().store.snapshot() as connection:
        return read_models.queue(connection, asdict(settings().switches))


def _release_lease(work_item: str = "", by: str = _BY) -> Reply:
    """Take the lease of a work item's task away by force; recorded with who."""
    try:
        operator.release_lease(_engine(), _required(work_item, "work_item"), by)
    except LostRaceError:
        # Another worker that was asked by the same command did it.
        return {"ok": f"{work_item}: no lease is held"}
    return {"ok": f"{work_item}: the lease is released"}


def _nudge(work_item: str = "") -> Reply:
    """Have the task of a work item looked at now."""
    operator.nudge(_engine(), _required(work_item, "work_item"))
    return {"ok": f"{work_item}: nudged"}


def _pause(scope: str = "*", reason: str = "", by: str = _BY) -> Reply:
    """Start nothing new, everywhere or in one project."""
    operator.pause(_engine(), scope, by, reason)
    return {"ok": f"paused: {scope}"}


def _resume(scope: str = "*", by: str = _BY) -> Reply:
    """Undo a pause."""
    operator.resume(_engine(), scope, by)
    return {"ok": f"resumed: {scope}"}


def _panic(reason: str = "", by: str = _BY) -> Reply:
    """No new claim of any effect anywhere; ``calm`` ends it."""
    operator.panic(_engine(), by, reason)
    return {"ok": "panic: no new effect is claimed"}


def _calm(by: str = _BY) -> Reply:
    """End a panic."""
    operator.calm(_engine(), by)
    return {"ok": "calm: effects may be claimed again"}


def _drain_node(node: str = "", draining: str = "true", by: str = _BY) -> Reply:
    """Let a node (this one when none is named) take nothing new, or with draining=false again."""
    if draining not in ("true", "false"):
        raise UsageError(f"draining={draining}: allowed are true and false")
    name = node or settings().node
    operator.drain(_engine(), name, by, draining=draining == "true")
    return {"ok": f"{name}: {'takes nothing new' if draining == 'true' else 'takes work again'}"}


def _required(value: str, name: str) -> str:
    if not value:
        raise UsageError(f"{name} is missing", remedy=f"give {name}=…")
    return value


_inspect("leases", _leases)
_inspect("runs", _runs)
_inspect("queue", _queue)
_control("release_lease", _release_lease, "work_item", "by")
_control("nudge", _nudge, "work_item")
_control("pause", _pause, "scope", "reason", "by")
_control("resume", _resume, "scope", "by")
_control("panic", _panic, "reason", "by")
_control("calm", _calm, "by")
_control("drain_node", _drain_node, "node", "draining", "by")
