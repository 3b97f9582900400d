"""The description of the API for programs. A test compares it with the routes there are."""

from __future__ import annotations

from typing import Final, TypeAlias

from orchestrator.domain.stages import Stage
from orchestrator.metrics import build_version
from orchestrator.store.read_models import ItemState
from web.webhooks import SENDERS

Schema: TypeAlias = dict[str, object]

_ITEM_PARAMETER: Final[Schema] = {
    "name": "work_item",
    "in": "path",
    "required": True,
    "description": "What people call the item: ORCH-114",
    "schema": {"type": "string"},
}
_ERRORS: Final = {
    "400": "A wrong request: the message names the field",
    "401": "No token, or a wrong one",
    "403": "A change that a page elsewhere asked for, or one that this author may not make",
    "404": "No such work item or project",
    "409": "It changed meanwhile, or waits for a person",
    "503": "The database or the configuration cannot be used now",
}


def description() -> Schema:
    """OpenAPI 3.1 of everything a program may call."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Orchestrator", "version": build_version()},
        "security": [{"token": []}],
        "paths": {**_items(), **_acts(), **_levers(), **_health(), **_webhooks()},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _error(), "Item": _item(), "Added": _added(), "Done": _done()},
        },
    }


def _items() -> Schema:
    new: Schema = {
        "type": "object",
        "required": ["project", "title"],
        "properties": {
            "project": {"type": "string"},
            "title": {"type": "string", "minLength": 1},
            "body": {"type": "string"},
            "priority": {"type": "integer", "description": "Higher goes first"},
            "key": {"type": "string", "description": "Default: the project's next number"},
            "blocked_by": {"type": "array", "items": {"type": "string"}},
            "by": {"type": "string", "description": "Who adds it; default: who asks"},
        },
    }
    board: Schema = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}}},
    }
    after = {"name": "after", "in": "query", "schema": {"type": "integer"}}
    limit = {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 500}}
    one: Schema = {"parameters": [_ITEM_PARAMETER]}
    return {
        "/api/items": {
            "get": _call("The board", board, "401"),
            "post": _call(
                "Add a work item to the built-in tracker", _ref("Added"), "400", "403", "404", ok="201", body=new
            ),
        },
        "/api/items/{work_item}": {**one, "get": _call("Everything about an item", {"type": "object"}, "404")},
        "/api/items/{work_item}/events": {
            **one,
            "get": {
                **_call("Its history, oldest first", {"type": "object"}, "400", "404"),
                "parameters": [after, limit],
            },
        },
        "/api/items/{work_item}/effects": {**one, "get": _call("Its ledger", {"type": "object"}, "404")},
        "/api/openapi.json": {"get": _call("This description", {"type": "object"})},
    }


def _acts() -> Schema:
    by = {"by": {"type": "string", "description": "Who asks; recorded"}}
    why: Schema = {"type": "object", "properties": {**by, "why": {"type": "string"}}, "required": ["why"]}
    who: Schema = {"type": "object", "properties": by}
    words = {
        "stop": ("Request STOP", who),
        "retry": ("Let a parked item try again", who),
        "approve": ("Let it go to production", who),
        "reject": ("Send it back, with why", why),
    }
    return {
        f"/api/items/{{work_item}}/{name}": {
            "parameters": [_ITEM_PARAMETER],
            "post": _call(title, _ref("Done"), "400", "404", "409", body=body),
        }
        for name, (title, body) in words.items()
    }


def _levers() -> Schema:
    named = {**_ITEM_PARAMETER, "in": "query"}
    release = _call("Release a lease by force; recorded", _ref("Done"), "400", "404", "409")
    return {"/transition-lease/release": {"post": {**release, "parameters": [named]}}}


def _health() -> Schema:
    anything: Schema = {"type": "object"}
    metrics = _call("Figures for Prometheus", anything)
    metrics["responses"] = {"200": {"description": "Text format of Prometheus", "content": {"text/plain": {}}}}
    return {
        "/queue": {"get": _call("Everything that moves or waits", anything)},
        "/livez": {"get": {**_call("This process serves", anything), "security": []}},
        "/readyz": {"get": {**_call("Requests can be served", anything, "503"), "security": []}},
        "/metrics": {"get": metrics},
    }


def _webhooks() -> Schema:
    kept: Schema = {
        "type": "object",
        "properties": {"delivery": {"type": "string"}, "duplicate": {"type": "boolean"}},
    }
    call = _call("Keep a signed delivery", kept, "400", "401", "503", ok="202", body={"type": "object"})
    return {f"/webhooks/{name}": {"post": {**call, "security": []}} for name in SENDERS}


def _call(title: str, answer: Schema, *errors: str, ok: str = "200", body: Schema | None = None) -> Schema:
    told = {code: _answer(_ERRORS[code], _ref("Error")) for code in sorted({*errors, "401"})}
    call: Schema = {"summary": title, "responses": {ok: _answer("Done", answer), **told}}
    if body is not None:
        call["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return call


def _answer(title: str, schema: Schema) -> Schema:
    return {"description": title, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _error() -> Schema:
    text = {"type": "string"}
    error = {"type": "object", "required": ["code", "message"], "properties": {"code": text, "message": text}}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _item() -> Schema:
    return {
        "type": "object",
        "properties": {
            "task_id": {"type": "integer"},
            "work_item": {"type": "string"},
            "project": {"type": "string"},
            "title": {"type": "string"},
            "stage": {"enum": [str(one) for one in Stage]},
            "state": {"enum": [str(one) for one in ItemState]},
            "priority": {"type": "integer"},
            "since": {"type": "string", "format": "date-time"},
            "reasons": {"type": "array", "items": {"type": "string"}},
            "pull_request": {"type": ["integer", "null"]},
        },
    }


def _added() -> Schema:
    return {"type": "object", "required": ["work_item"], "properties": {"work_item": {"type": "string"}}}


def _done() -> Schema:
    return {"type": "object", "properties": {"work_item": {"type": "string"}, "message": {"type": "string"}}}
