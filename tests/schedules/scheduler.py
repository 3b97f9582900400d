"""Threads that run one at a time, each to its next point, as somebody outside says; a lock wait is seen in Postgres.

An actor stands for a process. It parks at every failpoint, at every request that it sends, and (where that is wanted)
before every commit, with the row locks of its transaction held. A killed actor writes nothing more: its thread is
ended by an exception that nothing catches, its transaction is rolled back, and every later transaction or request of
it ends the same way, also those of ``finally``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import sqlalchemy
from sqlalchemy import Connection, event, text

from orchestrator import failpoints
from orchestrator.domain.ownership import Owner

_here = threading.local()
_LOOK_S: Final = 0.004
"""A step takes about a millisecond; one that takes longer may wait for a lock."""
_LONGEST_LOOK_S: Final = 0.05
_STUCK_S: Final = 60.0


class Killed(BaseException):
    """The process of this thread is gone. Not an ``Exception``: no code of the product may go on after it."""


class State(StrEnum):
    """What an actor does now. ``BLOCKED``: it waits in Postgres for a lock that a parked actor holds."""

    PARKED = "parked"
    RUNNING = "running"
    BLOCKED = "blocked"
    DONE = "done"
    DEAD = "dead"


@dataclass(eq=False)
class Actor:
    """One process: ``body`` in a thread of its own. ``point`` is where it stands, ``error`` what it left with."""

    name: str
    owner: Owner
    body: Callable[[], None]
    unkillable: bool = False
    """Tier 3 cannot end it: it loses its lease and goes on, a zombie."""
    point: str = "start"
    state: State = State.PARKED
    error: BaseException | None = None
    backend: int = 0
    nudges: list[tuple[Any, ...]] = field(default_factory=list)
    doomed: bool = False
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    thread: threading.Thread | None = None

    @property
    def is_over(self) -> bool:
        return self.state in (State.DONE, State.DEAD)

    @property
    def can_run(self) -> bool:
        return self.state is State.PARKED

    def must_live(self) -> None:
        if self.doomed:
            raise Killed(self.name)

    def park(self, point: str) -> None:
        """Stand at ``point`` until the scheduler lets this thread go on; raises Killed when it never does."""
        self.must_live()
        self.point, self.state = point, State.PARKED
        self.arrived.release()
        self.go.acquire()
        self.must_live()

    def run(self) -> None:
        _here.actor = self
        self.go.acquire()
        try:
            self.must_live()
            self.body()
            self.state = State.DONE
        except Killed:
            self.state = State.DEAD
        except BaseException as error:
            # What is cut off at a commit comes out as whatever error its clean-up meets: it is dead all the same.
            self.error, self.state = (None, State.DEAD) if self.doomed else (error, State.DONE)
        finally:
            _here.actor = None
            self.arrived.release()


def current() -> Actor | None:
    """The actor that this thread is; None in the thread of the scheduler itself."""
    return getattr(_here, "actor", None)


def reach(point: str) -> None:
    """The calling actor is at ``point``; nothing happens in a thread that is no actor."""
    actor = current()
    if actor is not None:
        actor.park(point)


@dataclass
class Scheduler:
    """Runs actors one at a time. ``fine``: they also park before each commit of a transaction that wrote."""

    engine: sqlalchemy.Engine
    fine: bool = False
    actors: list[Actor] = field(default_factory=list)
    on_point: Callable[[Actor, str], None] = lambda actor, point: None
    on_write: Callable[[Actor, Connection, str, object], None] = lambda actor, connection, statement, values: None
    steps: int = 0
    lock_waits: int = 0
    kills: int = 0
    _waiting: set[Actor] = field(default_factory=set)
    _watcher: Connection | None = None

    def spawn(self, actor: Actor) -> Actor:
        actor.thread = threading.Thread(target=actor.run, name=actor.name, daemon=True)
        actor.thread.start()
        self.actors.append(actor)
        return actor

    def runnable(self) -> list[Actor]:
        return [one for one in self.actors if one.can_run]

    def step(self, actor: Actor) -> None:
        """Let ``actor`` run to its next point, its end, or a lock that it has to wait for."""
        assert actor.can_run, f"{actor.name} is {actor.state}"
        self.steps += 1
        actor.state = State.RUNNING
        actor.go.release()
        self._await(actor)
        self._see_who_got_a_lock()
        self.on_point(actor, actor.point)

    def _await(self, actor: Actor) -> None:
        deadline = time.monotonic() + _STUCK_S
        patience = _LOOK_S
        self._waiting.discard(actor)
        while not actor.arrived.acquire(timeout=patience):
            patience = min(2 * patience, _LONGEST_LOOK_S)
            if self._waits_for_lock(actor):
                if actor.state is State.RUNNING:
                    self.lock_waits += 1
                    # From here on it parks as soon as the lock is given: whoever gave it still runs.
                    actor.state = State.BLOCKED
                self._waiting.add(actor)
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"{actor.name} does not come from {actor.point} to a point")

    def _waits_for_lock(self, actor: Actor) -> bool:
        if not actor.backend:
            return False
        if self._watcher is None:
            self._watcher = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        found = self._watcher.execute(text("SELECT pg_blocking_pids(:pid)"), {"pid": actor.backend}).scalar_one()
        others = {one.backend for one in self.actors if one is not actor and not one.is_over}
        return bool(others.intersection(found))

    def wait_for_a_lock(self) -> bool:
        """Nobody can run: wait until Postgres gives a lock, or ends a deadlock. False when nobody waits for one."""
        deadline = time.monotonic() + _STUCK_S
        while self._waiting and time.monotonic() < deadline:
            for one in list(self._waiting):
                if one.arrived.acquire(timeout=_LONGEST_LOOK_S):
                    self._waiting.discard(one)
                    return True
        return False

    def _see_who_got_a_lock(self) -> None:
        """Whoever waited for a lock that was given back has run to ``lock granted`` meanwhile: its arrival counts."""
        for one in list(self._waiting):
            self._await(one)

    def kill(self, actor: Actor) -> None:
        """End ``actor`` where it stands; it is gone, with its transaction, when this returns."""
        if actor.is_over:
            return
        self.kills += 1
        actor.doomed = True
        if actor.state is State.BLOCKED:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": actor.backend})
        else:
            actor.go.release()
        assert actor.thread is not None
        actor.thread.join(_STUCK_S)
        assert actor.is_over, f"{actor.name} does not die"
        self._waiting.discard(actor)
        self._see_who_got_a_lock()

    def finish(self) -> None:
        """End every thread that is left: a schedule that failed must not leave one behind."""
        for actor in self.actors:
            if not actor.is_over:
                self.kill(actor)
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None


def install(engine: sqlalchemy.Engine, playing: Callable[[], Scheduler | None]) -> None:
    """Have transactions on ``engine`` and failpoints seen by the scheduler that plays. Once an engine."""

    def executed(
        connection: Connection, cursor: Any, statement: str, values: object, context: object, many: bool
    ) -> None:
        scheduler, actor = playing(), current()
        if actor is None or scheduler is None:
            return
        # A guarded write that matched no row has written nothing.
        if statement.lstrip()[:6].upper() in ("UPDATE", "INSERT") and cursor.rowcount:
            connection.info["wrote"] = True
            scheduler.on_write(actor, connection, statement, values)
        if actor.state is State.BLOCKED:
            actor.park("lock granted")

    def commits(connection: Connection) -> None:
        scheduler = playing()
        _commits(connection, fine=scheduler is not None and scheduler.fine)

    event.listen(engine, "begin", _begins)
    event.listen(engine, "after_cursor_execute", executed)
    event.listen(engine, "handle_error", _failed)
    event.listen(engine, "commit", commits)
    failpoints.watch(reach)


def _begins(connection: Connection) -> None:
    actor = current()
    if actor is not None:
        actor.must_live()
        driver: Any = connection.connection.driver_connection
        actor.backend = driver.info.backend_pid
        connection.info["wrote"] = False


def _failed(context: object) -> None:
    actor = current()
    if actor is not None:
        actor.must_live()
        if actor.state is State.BLOCKED:
            actor.park("lock refused")


def _commits(connection: Connection, *, fine: bool) -> None:
    actor = current()
    if actor is not None:
        actor.must_live()
        if fine and connection.info.get("wrote"):
            actor.park("commit")
