"""The audit behind `orch verify`: rows, git, environments, processes and texts held against the invariants I1 to I18.

It runs on a live system. What rows say is read in one snapshot, and after it the outside, which may be ahead by then
and never behind. What may be on its way (a dead owner that the next sweep frees, a merge that lands just now) is a
breach only when it is found again after a sweep. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection

from orchestrator.audit import environments, git, processes, spool, texts
from orchestrator.audit.breaches import Audit, Breach, Say, Seen
from orchestrator.engine.context import Engine
from orchestrator.store import audit as rows
from orchestrator.store.audit import CHECKS, Check, Scope, facts

__all__ = ["Audit", "Breach", "Scope", "audit", "of_rows"]

SLACK_S: Final = 30.0
"""A sweep may come late, and takes its time."""
_AFTER_SWEEP_S: Final = 5.0
_NO_SECRETS: Final[Mapping[str, str]] = MappingProxyType({})

_Look = Callable[[], Seen]


def _silent(_text: str) -> None:
    """Says nothing."""


def audit(
    engine: Engine,
    scope: Scope = Scope(),  # noqa: B008  # a frozen value
    *,
    secrets: Mapping[str, str] = _NO_SECRETS,
    say: Say = _silent,
) -> Audit:
    """Check everything that rows and the outside can show. ``secrets``: value by variable, for I18."""
    limit_s = 2 * engine.timings.reconciler_interval_s + SLACK_S
    with _reading(engine) as connection:
        (tasks, effects), projects = facts.counts(connection, scope), facts.projects(connection, scope)
        say(f"{tasks} tasks with {effects} effects: {len(CHECKS)} checks of rows")
        sure = [one for check in CHECKS if not check.passing for one in _found(connection, check, scope, limit_s)]
        say(f"stored texts: {len(secrets)} secrets")
        leaked = texts.stored(connection, secrets)
    looks: list[_Look] = [partial(_rows_again, engine, check, scope, limit_s) for check in CHECKS if check.passing]
    looks += [partial(processes.look, engine, scope), partial(spool.look, engine, limit_s)]
    looks += [partial(git.look, engine, project, scope) for project in projects]
    looks += [partial(environments.look, engine, project) for project in projects]
    written = texts.written(engine.runs_dir, secrets)
    seen = _twice(engine, looks, say)
    breaches = (*sure, *leaked.breaches, *written.breaches, *seen.breaches)
    unread = (*leaked.unread, *written.unread, *seen.unread)
    return Audit(
        tasks,
        effects,
        seen.landings,
        breaches=tuple(dict.fromkeys(breaches)),
        unread=tuple(dict.fromkeys(unread)),
        notes=texts.not_searched(secrets),
    )


def of_rows(engine: Engine, scope: Scope, limit_s: float) -> list[Breach]:
    """What the rows of this moment show, also what a sweep may still mend; ``limit_s``: what is older stands still."""
    with _reading(engine) as connection:
        return [one for check in CHECKS for one in _found(connection, check, scope, limit_s)]


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    with engine.store.snapshot() as connection:
        rows.prepare(connection)
        yield connection


def _found(connection: Connection, check: Check, scope: Scope, limit_s: float) -> list[Breach]:
    found = rows.run(connection, check, scope, limit_s)
    return [Breach(one.invariant, one.work_item or "-", one.evidence) for one in found]


def _rows_again(engine: Engine, check: Check, scope: Scope, limit_s: float) -> Seen:
    with _reading(engine) as connection:
        return Seen(tuple(_found(connection, check, scope, limit_s)))


def _twice(engine: Engine, looks: list[_Look], say: Say) -> Seen:
    """Each look, and those that found something once more after a sweep: only what both found is a breach."""
    say(f"the outside: {len(looks)} looks")
    first = [(look, look()) for look in looks]
    doubtful = sum(len(seen.breaches) for _look, seen in first)
    if doubtful:
        timings = engine.timings
        wait_s = max(timings.reaper_interval_s, timings.reconciler_interval_s, timings.finalizer_interval_s)
        say(f"{doubtful} things look wrong: looking again after a sweep, in {wait_s + _AFTER_SWEEP_S:.0f} s")
        engine.clock.sleep(wait_s + _AFTER_SWEEP_S)
    breaches = [one for look, seen in first if seen.breaches for one in _still(look, seen)]
    unread = [one for _look, seen in first for one in seen.unread]
    return Seen(tuple(breaches), tuple(unread), sum(seen.landings for _look, seen in first))


def _still(look: _Look, before: Seen) -> list[Breach]:
    now = set(look().breaches)
    return [one for one in before.breaches if one in now]
