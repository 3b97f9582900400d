"""Deliveries on disk while the database is down: one file each, synced before it counts, moved to the inbox later.

Senders take any answer as delivered or never try again, so a delivery that is dropped is lost.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from orchestrator.store import inbox
from orchestrator.store.database import Store

_log: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 500
"""Files of one pass: a pass must end."""


@dataclass(frozen=True, slots=True)
class SpooledDelivery:
    """What ``inbox.receive`` needs, as it waits on disk. ``received_at`` None: now."""

    source: str
    delivery: str
    dedupe_key: str
    event: str
    body: bytes
    received_at: datetime | None = None


def directory(data_dir: Path) -> Path:
    """Where deliveries wait on this node."""
    return data_dir / "spool"


def keep(where: Path, delivery: SpooledDelivery) -> None:
    """Write the delivery so that a power cut does not lose it. Raises OSError when it cannot be kept."""
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{time.time_ns():020}-{uuid.uuid4().hex}"
    unfinished, finished = where / f"{name}.part", where / f"{name}.json"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({**_words(delivery), "body": base64.b64encode(delivery.body).decode()}, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(finished)
    _sync(where)


def _words(delivery: SpooledDelivery) -> Mapping[str, str]:
    return {
        "source": delivery.source,
        "delivery": delivery.delivery,
        "dedupe_key": delivery.dedupe_key,
        "event": delivery.event,
    }


def _sync(where: Path) -> None:
    descriptor = os.open(where, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drain(store: Store, where: Path) -> int:
    """Move what waits into the inbox, oldest first; how many. The file goes only after the commit, so that a crash
    between them makes a duplicate, which the inbox knows. A file that cannot be read is set aside, never deleted."""
    moved = 0
    for file in _waiting(where):
        delivery = _read(file)
        if delivery is None:
            _set_aside(file)
            continue
        with store.transaction() as connection:
            inbox.receive(
                connection,
                source=delivery.source,
                delivery=delivery.delivery,
                dedupe_key=delivery.dedupe_key,
                event=delivery.event,
                body=delivery.body,
                received_at=delivery.received_at,
            )
        file.unlink(missing_ok=True)
        moved += 1
    return moved


def _waiting(where: Path) -> Sequence[Path]:
    """Oldest first. Names begin with the time: a look at each file could meet one that another pass just moved."""
    return sorted(where.glob("*.json"))[:_AT_ONCE]


def _set_aside(file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # another pass moved it
        file.rename(file.with_suffix(".unreadable"))
        _log.error("a spooled delivery cannot be read and is set aside: %s", file)


def _written_at(file: Path) -> datetime | None:
    """A delivery that waited for an hour speaks of what changed an hour ago. The name begins with the time."""
    nanoseconds = file.name.partition("-")[0]
    return datetime.fromtimestamp(int(nanoseconds) / 1e9, UTC) if nanoseconds.isdigit() else None


def _read(file: Path) -> SpooledDelivery | None:
    try:
        found = json.loads(file.read_text())
        words = {name: str(found[name]) for name in ("source", "delivery", "dedupe_key", "event")}
        body = base64.b64decode(found["body"], validate=True)
        return SpooledDelivery(**words, body=body, received_at=_written_at(file))
    except (OSError, ValueError, KeyError, TypeError):
        return None
