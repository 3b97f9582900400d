"""A store whose snapshots remember what they read: a row that nobody wrote since is not asked for again.

Only one actor runs at a time and every commit goes through ``versions``, so what is remembered is what Postgres would
answer. Three of four statements of a schedule are such reads; ``--every-read`` asks for all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from sqlalchemy import Connection, Engine, FrozenResult, TextClause, event, text

from orchestrator.store.database import Store

_WRITTEN: Final = re.compile(r"\s*(?:UPDATE|INSERT\s+INTO|DELETE\s+FROM)\s+(\w+)", re.IGNORECASE)
_READ: Final = re.compile(r"\b(?:FROM|JOIN)\s+([a-z_]+)", re.IGNORECASE)
_WITH_HISTORY: Final = frozenset({"tasks", "jobs", "effects", "deployments"})
"""Tables whose triggers write ``events`` too."""


class Versions:
    """How often each table was written by committed transactions."""

    def __init__(self, engine: Engine) -> None:
        self.of: Counter[str] = Counter()

        @event.listens_for(engine, "after_cursor_execute")
        def executed(
            connection: Connection, cursor: object, statement: str, parameters: object, context: object, many: bool
        ) -> None:
            found = _WRITTEN.match(statement)
            if found:
                table = found[1].lower()
                more = ("events",) if table in _WITH_HISTORY else ()
                connection.info.setdefault("tables", set()).update((table, *more))

        @event.listens_for(engine, "commit")
        def committed(connection: Connection) -> None:
            self.of.update(connection.info.pop("tables", ()))

        @event.listens_for(engine, "rollback")
        def rolled_back(connection: Connection) -> None:
            connection.info.pop("tables", None)

    def all_changed(self) -> None:
        """Something was written past the engine's statements."""
        for table in self.of:
            self.of[table] += 1


class Remembering(Store):
    """``Store`` with memory in ``snapshot``."""

    def __init__(self, engine: Engine, versions: Versions) -> None:
        super().__init__(engine)
        object.__setattr__(self, "_versions", versions)
        object.__setattr__(self, "_known", {})

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        memory = _Snapshot(self.engine, cast("Any", self)._versions, cast("Any", self)._known)
        try:
            yield cast("Connection", memory)
        finally:
            memory.close()

    def forget(self) -> None:
        cast("Any", self)._known.clear()


Known = dict[tuple[str, str], tuple[tuple[int, ...], FrozenResult[Any]]]


class _Snapshot:
    """What ``snapshot`` needs of a connection; Postgres is asked at the first read that is not known."""

    def __init__(self, engine: Engine, versions: Versions, known: Known) -> None:
        self._engine, self._versions, self._known = engine, versions, known
        self._connection: Connection | None = None

    def execute(self, statement: TextClause, values: dict[str, object] | None = None) -> object:
        key = (statement.text, repr(values))
        now = tuple(self._versions.of[table] for table in _tables(statement.text))
        before = self._known.get(key)
        if before is not None and before[0] == now:
            return before[1]()
        found = self._open().execute(statement, values or {}).freeze()
        self._known[key] = (now, found)
        return found()

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.rollback()
            self._connection.close()


def _memoized(function: Callable[[str], tuple[str, ...]]) -> Callable[[str], tuple[str, ...]]:
    known: dict[str, tuple[str, ...]] = {}

    def ask(statement: str) -> tuple[str, ...]:
        if statement not in known:
            known[statement] = function(statement)
        return known[statement]

    return ask


@_memoized
def _tables(statement: str) -> tuple[str, ...]:
    return tuple(sorted({one.lower() for one in _READ.findall(statement)}))
