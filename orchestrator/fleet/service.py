"""What a service is, as a value: the supervisor knows nothing else about it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from orchestrator.embedded.run_as import RunAs

READY_LIMIT_S = 60.0  # importing everything without bytecode on two busy cores was seen to take 15 s


class Rank(IntEnum):
    """Start order; stopped in the reverse order. Services of one rank start and stop together."""

    DATABASE = 0
    BROKER = 1
    MIGRATIONS = 2
    WORKERS = 3
    ENTRANCES = 4  # whatever brings new work: web and beat, and Flower


class State(StrEnum):
    """Where a service stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    DONE = "done"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One program of the fleet.

    ``ready``: whether it answers now (None: as soon as it runs). Called often; must return within two seconds.
    ``prepare``: run before each start, in the supervisor.
    ``grace_s``: seconds between ``stop_signal`` and the next step: ``hurry_signal`` with ``hurry_grace_s`` where
    there is one, then SIGKILL. A second request to stop skips to ``hurry_signal``.
    ``death_signal``: what the kernel sends when the supervisor dies.
    ``spare_words``: what a spare is told to become this service; empty: none can (see ``spare``).
    ``restart``: False makes it a step that runs once; it is ready when it has ended with status 0.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    rank: Rank
    ready: Callable[[], bool] | None = None
    prepare: Callable[[], None] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0
    hurry_signal: signal.Signals | None = None
    hurry_grace_s: float = 0.0
    death_signal: signal.Signals = signal.SIGKILL
    user: RunAs | None = None
    restart: bool = True
    spare_words: tuple[str, ...] = ()
    ready_limit_s: float = READY_LIMIT_S
