"""The JSON API: items, what may be asked for them, and the forced release of a lease."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, jsonify, make_response, request, url_for

from orchestrator.domain.errors import UsageError
from orchestrator.engine import intake, operator
from orchestrator.store import read_models
from web import acts
from web.auth import caller
from web.openapi import description
from web.parts import parts, reading

routes: Final = Blueprint("api", __name__)
_EVENTS: Final = 500


@routes.get("/api/items")
def items() -> Response:
    """The board."""
    with reading() as connection:
        found = read_models.board(connection)
    return jsonify({"items": read_models.plain(found)})


@routes.post("/api/items")
def add_item() -> Response:
    """Add a work item to the built-in tracker and start its passage."""
    given = _object()
    key = intake.add_item(
        parts().engine,
        _text(given, "project"),
        _text(given, "title"),
        body=_text(given, "body", ""),
        priority=_whole(given, "priority", 0),
        author=_text(given, "by", caller().name),
        key=_text(given, "key", "") or None,
        blocked_by=_texts(given, "blocked_by"),
    )
    answer = make_response(jsonify({"work_item": key}), 201)
    answer.headers["Location"] = url_for("api.item", work_item=key)
    return answer


@routes.get("/api/items/<work_item>")
def item(work_item: str) -> Response:
    """Everything about one item."""
    return jsonify(read_models.plain(acts.page_of(work_item)))


@routes.get("/api/items/<work_item>/events")
def item_events(work_item: str) -> Response:
    """History from behind the event ``after``, oldest first; at most ``limit``."""
    acts.page_of(work_item)
    after, limit = _number("after", 0, 2**62), _number("limit", _EVENTS, _EVENTS)
    with reading() as connection:
        found = read_models.item_events(connection, work_item, after, limit)
    return jsonify({"events": read_models.plain(found)})


@routes.get("/api/items/<work_item>/effects")
def item_effects(work_item: str) -> Response:
    """The ledger of the item's live, else newest, task."""
    return jsonify({"effects": read_models.plain(acts.page_of(work_item).effects)})


def _act(name: str, work_item: str) -> Response:
    given = _object()
    said = acts.perform(name, work_item, _text(given, "by", caller().name), _text(given, "why", ""))
    return jsonify({"work_item": work_item, "message": said})


@routes.post("/api/items/<work_item>/stop")
def stop(work_item: str) -> Response:
    """Request STOP."""
    return _act("stop", work_item)


@routes.post("/api/items/<work_item>/retry")
def retry(work_item: str) -> Response:
    """Let a parked item try again."""
    return _act("retry", work_item)


@routes.post("/api/items/<work_item>/approve")
def approve(work_item: str) -> Response:
    """Let the item go to production."""
    return _act("approve", work_item)


@routes.post("/api/items/<work_item>/reject")
def reject(work_item: str) -> Response:
    """Send the item back, with ``why``."""
    return _act("reject", work_item)


@routes.post("/transition-lease/release")
def release_lease() -> Response:
    """Take the lease of a work item's task away by force; recorded with who."""
    work_item = request.args.get("work_item", "")
    if not work_item:
        raise UsageError("work_item is missing", remedy="add ?work_item=<id>")
    acts.page_of(work_item)
    operator.release_lease(parts().engine, work_item, request.args.get("by", caller().name))
    return jsonify({"work_item": work_item, "message": f"{work_item}: the lease is released"})


@routes.get("/api/openapi.json")
def openapi() -> Response:
    """This API, described for programs."""
    return jsonify(description())


# --- what a request gives, or a UsageError that names the field --------------------------------------------


def _object() -> dict[str, object]:
    """The JSON object of the body; an empty body is an empty object."""
    if not request.get_data():
        return {}
    found = request.get_json(force=True)
    if not isinstance(found, dict):
        raise UsageError("the body is not a JSON object")
    return found


def _text(given: dict[str, object], name: str, default: str | None = None) -> str:
    found = given.get(name, default)
    if not isinstance(found, str) or (default is None and not found.strip()):
        raise UsageError(f"{name}: {'is missing' if found is None else 'must be a text that is not empty'}")
    return found.replace("\0", "\ufffd")


def _whole(given: dict[str, object], name: str, default: int) -> int:
    found = given.get(name, default)
    if not isinstance(found, int) or isinstance(found, bool) or abs(found) > 1_000_000:
        raise UsageError(f"{name}: must be a whole number up to a million")
    return found


def _texts(given: dict[str, object], name: str) -> tuple[str, ...]:
    found = given.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UsageError(f"{name}: must be a list of texts")
    return tuple(found)


def _number(name: str, default: int, most: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UsageError(f"{name}: must be a whole number")
    return min(int(text), most)
