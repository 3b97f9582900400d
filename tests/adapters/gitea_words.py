"""Holds the double's answers and the adapter's requests to Gitea's own Swagger file and recorded deliveries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft4Validator, ValidationError
from jsonschema.exceptions import best_match

from orchestrator.demo.doubles.gitea.deliveries import Delivery
from orchestrator.demo.doubles.http_server import Exchange

HERE: Final = Path(__file__).parents[1] / "fixtures" / "gitea"
SWAGGER: Final[dict[str, Any]] = json.loads((HERE / "swagger.v1.json").read_text())
_R: Final = "/repos/{owner}/{repo}"

_EVERYWHERE: Final = frozenset({401, 403, 404, 423})
_UNTOLD: Final = {
    # Not in the file, and what real servers answer all the same.
    ("post", f"{_R}/pulls/{{index}}/merge"): {422, 500},
    ("post", f"{_R}/statuses/{{sha}}"): {500},
    ("get", f"{_R}/issues/{{index}}/comments"): {500},
    ("post", f"{_R}/hooks"): {422},
}


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """The most exact one first: a plain word is nearer than a variable."""
    ordered = sorted(SWAGGER["paths"], key=lambda path: (path.count("{"), -len(path)))
    # The name of a branch may hold slashes.
    return [(re.compile(re.sub(r"\{(\w+)\}", _variable, path)), path) for path in ordered]


def _variable(found: re.Match[str]) -> str:
    return "(.+)" if found[1] in ("branch", "basehead") else "([^/]+)"


@cache
def _definitions() -> dict[str, Any]:
    """Those of the file, made strict: no field that it does not know. Go writes null for what is not there, and the
    login of a person twice in a delivery; the file does not speak of either."""
    found: dict[str, Any] = {}
    for key, row in SWAGGER["definitions"].items():
        if "properties" not in row:
            found[key] = row
            continue
        properties = {name: _or_null(one) for name, one in row["properties"].items()}
        if key == "User":
            properties["username"] = {"type": "string"}
        found[key] = {**row, "properties": properties, "additionalProperties": False}
    return found


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return {"anyOf": [dict(schema), {"type": "null"}]}
    allowed = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **allowed, "type": [schema["type"], "null"]}


def wrong_with(schema: Mapping[str, Any], value: object) -> list[str]:
    """What does not fit the schema (one with a ``$ref`` to a definition, or a list of such)."""
    found = Draft4Validator({**schema, "definitions": _definitions()}).iter_errors(value)
    return [f"{'/'.join(map(str, one.absolute_path))}: {_innermost(one)}" for one in found]


def _innermost(error: ValidationError) -> str:
    deepest = best_match([error])
    return deepest.message if deepest is not None else error.message


def problems_of(exchange: Exchange) -> list[str]:
    """Every way in which the exchange is not one with the server that the file describes."""
    path = exchange.request.raw_path
    if not path.startswith(SWAGGER["basePath"]):
        return []
    method = exchange.request.method.lower()
    for pattern, template in _templates():
        if pattern.fullmatch(path.removeprefix(SWAGGER["basePath"])) and method in SWAGGER["paths"][template]:
            operation = SWAGGER["paths"][template][method]
            where = f"{method} {template}"
            found = [*_of_query(operation, exchange), *_of_body(operation, exchange)]
            if not exchange.by_trap:
                found += _of_answer(method, template, operation, exchange)
            return [f"{where}: {one}" for one in found]
    return [f"{method} {path}: the file has no such call"] if exchange.reply.status != 404 else []


def _of_query(operation: Mapping[str, Any], exchange: Exchange) -> Iterator[str]:
    known = {one["name"]: one for one in operation.get("parameters", ()) if one["in"] == "query"}
    for name, text in exchange.request.query.items():
        if name not in known:
            yield f"there is no query parameter {name}"
        elif "enum" in known[name] and text not in known[name]["enum"]:
            yield f"{name}={text} is none of {known[name]['enum']}"


def _of_body(operation: Mapping[str, Any], exchange: Exchange) -> Iterator[str]:
    schema = next((one["schema"] for one in operation.get("parameters", ()) if one["in"] == "body"), None)
    asked = exchange.request.json
    if schema is None:
        if asked is not None:
            yield "a body where none is taken"
        return
    if isinstance(asked, dict):
        asked = _by_known_names(schema["$ref"].rpartition("/")[2], asked)
    yield from (f"request {one}" for one in wrong_with(schema, asked if asked is not None else {}))


def _by_known_names(definition: str, asked: Mapping[str, object]) -> dict[str, object]:
    """Older servers take the Go name alone, the file of 1.26 and later names the other: both are good."""
    properties = SWAGGER["definitions"][definition].get("properties", {})
    other = {row.get("x-go-name"): name for name, row in properties.items()}
    # Only the merge is asked for in capitals: elsewhere such a name would not be understood.
    renamed = other if definition == "MergePullRequestOption" else {}
    return {renamed.get(name, name): one for name, one in asked.items()}


def _of_answer(method: str, template: str, operation: Mapping[str, Any], exchange: Exchange) -> Iterator[str]:
    status, body = exchange.reply.status, exchange.reply.body
    told = operation["responses"].get(str(status))
    if told is None:
        if status not in _EVERYWHERE | _UNTOLD.get((method, template), set()):
            yield f"answers {status}, which the file does not know"
        told = {}
    if status >= 400:
        if set(body if isinstance(body, dict) else {"": ""}) != {"message", "url"}:
            yield f"{status} is no error as the API writes it: {body}"
        return
    shape = SWAGGER["responses"].get(str(told.get("$ref", "")).rpartition("/")[2], told)
    if "schema" not in shape:
        if body is not None:
            yield f"{status} has a body: {body}"
        return
    yield from (f"answer {one}" for one in wrong_with(shape["schema"], body))


# --- deliveries --------------------------------------------------------------------------------------------------

_PARTS: Final = {"pull_request": "PullRequest", "repository": "Repository", "sender": "User", "comment": "Comment"}


@cache
def recorded() -> dict[str, list[Mapping[str, Any]]]:
    """Recorded payloads by event type."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in json.loads((HERE / "webhooks" / "index.json").read_text()):
        payload = json.loads((HERE / "webhooks" / one["file"]).read_text())
        found.setdefault(one["X-Gitea-Event-Type"], []).append(payload)
    return found


def problems_of_delivery(delivery: Delivery) -> list[str]:
    """Every way in which it differs from those that were recorded of its type."""
    kind, body = delivery.event.event_type, delivery.event.body
    known = recorded().get(kind)
    if known is None:
        return [f"{kind}: no such event type was recorded"]
    ever, always = set().union(*known), set.intersection(*map(set, known))
    found = [f"{kind}: nobody sends {name}" for name in body.keys() - ever]
    found += [f"{kind}: {name} is missing" for name in always - body.keys()]
    for name, definition in _PARTS.items():
        if isinstance(body.get(name), dict):
            schema = {"$ref": f"#/definitions/{definition}"}
            found += [f"{kind}: {name} {one}" for one in wrong_with(schema, body[name])]
    return found
