"""What the handlers work with, kept in the app: settings, store, engine, nudges."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from flask import Flask, current_app
from sqlalchemy import Connection

from orchestrator import bootstrap
from orchestrator.engine.context import Engine
from orchestrator.ports import Nudges
from orchestrator.settings import Settings
from orchestrator.store.database import Store
from web.nudging import LaterNudges

_KEY: Final = "orchestrator"
_POOL: Final = 8
"""One connection a thread of the web server."""


class InboxNudges(Nudges, Protocol):
    """Nudges, and the one that only the web sends."""

    def process_deliveries(self, delivery_ids: Sequence[int]) -> bool:
        """False when the broker does not answer."""


class Parts:
    """The engine is built when first asked for: webhooks must be taken also while its configuration is broken."""

    def __init__(self, settings: Settings, nudges: InboxNudges, engine: Engine | None = None) -> None:
        self.settings = settings
        self.nudges = nudges
        self.store: Store = engine.store if engine else bootstrap.build_store(settings, pool_size=_POOL)
        self.intake_store: Store = engine.store if engine else bootstrap.build_intake_store(settings, pool_size=_POOL)
        self.later = LaterNudges(nudges)
        self._engine = engine
        self._building = threading.Lock()

    @property
    def engine(self) -> Engine:
        """Raises ConfigurationError when the operator's configuration has never been usable."""
        with self._building:
            if self._engine is None:
                self._engine = bootstrap.build_engine(self.settings, self.nudges, pool_size=_POOL)
            return self._engine


def install(app: Flask, made: Parts) -> None:
    """Give the app its parts."""
    app.extensions[_KEY] = made


def parts() -> Parts:
    """The parts of the app that handles this request."""
    found: Parts = current_app.extensions[_KEY]
    return found


@contextmanager
def reading() -> Iterator[Connection]:
    """One consistent read for one answer."""
    with parts().store.snapshot() as connection:
        yield connection
