"""Server-sent events: «these items changed». A page then asks for itself again; nothing rests on a message."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Final

from flask import Blueprint, Response, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import ServiceUnavailable

from orchestrator.store import read_models
from orchestrator.store.database import Store
from web.parts import parts

routes: Final = Blueprint("live", __name__)
LOOK_S: Final = 1.0
HEARTBEAT_S: Final = 15.0
"""Proxies close what is silent for half a minute."""
LONGEST_S: Final = 120.0
"""A stream ends by itself and the browser comes again: a reader that has gone must not keep a thread."""
AT_ONCE: Final = 4
"""Each stream holds one of the server's eight threads; webhooks and programs need the others."""
_free: Final = threading.BoundedSemaphore(AT_ONCE)


@routes.get("/live")
def live() -> Response:
    """A stream of changes from now on, or from behind the event that the browser saw last."""
    if not _free.acquire(blocking=False):
        raise ServiceUnavailable("enough pages are live; this one asks again by itself")
    try:
        store = parts().store
        after = _after(store, request.headers.get("Last-Event-ID", ""))
        answer = Response(changes(store, after), mimetype="text/event-stream")
    except BaseException:
        _free.release()
        raise
    answer.call_on_close(_free.release)
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def _after(store: Store, seen: str) -> int:
    if seen.isascii() and seen.isdigit() and len(seen) < 19:
        return int(seen)
    return _newest(store)


def changes(store: Store, after: int, longest_s: float = LONGEST_S) -> Iterator[str]:
    """Messages of one stream. Each look is a transaction of its own."""
    ends = time.monotonic() + longest_s
    quiet_since = time.monotonic()
    yield "retry: 2000\n\n"
    while time.monotonic() < ends:
        found = _look(store, after)
        if found is None:
            return
        newest, items = found
        if newest > after:
            after, quiet_since = newest, time.monotonic()
            yield f"id: {after}\nevent: change\ndata: {json.dumps({'items': items})}\n\n"
        elif time.monotonic() - quiet_since > HEARTBEAT_S:
            quiet_since = time.monotonic()
            yield ": still here\n\n"
        time.sleep(LOOK_S)


def _look(store: Store, after: int) -> tuple[int, list[str]] | None:
    """(newest event, items with new events), or None when the database does not answer: the browser comes again."""
    try:
        with store.transaction() as connection:
            return read_models.changed_items(connection, after)
    except SQLAlchemyError:
        return None


def _newest(store: Store) -> int:
    with store.transaction() as connection:
        return read_models.newest_event(connection)
