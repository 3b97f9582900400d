"""What a real Plane was seen to answer, and what its own description says, to hold the stand-in and the client against.

The description is not exact; ``_mended`` is the list of what is known to be wrong in it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from openapi_core import OpenAPI
from openapi_core.templating.responses.exceptions import ResponseNotFound
from openapi_core.testing import MockRequest, MockResponse
from openapi_core.validation.response.exceptions import DataValidationError

from orchestrator.demo.doubles.http_server import Exchange

RECORDED = Path(__file__).parent / "recorded"
UNDOCUMENTED = frozenset({301, 403, 405, 409, 429, 500})
"""Statuses that Plane answers and its description does not know."""


@dataclass(frozen=True)
class Recorded:
    name: str
    method: str
    path: str
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    body: Any
    status: int
    answer_headers: Mapping[str, str]
    answer: Any


@cache
def recorded() -> tuple[Recorded, ...]:
    return tuple(_exchanges())


def _exchanges() -> Iterator[Recorded]:
    for file in sorted(RECORDED.glob("rest_*.json")):
        for one in json.loads(file.read_text()):
            request, response = one["request"], one["response"]
            yield Recorded(
                one["name"],
                request["method"],
                request["path"],
                request["query"],
                request["headers"],
                request["body"],
                response["status"],
                response["headers"],
                response["body"],
            )


def called(name: str) -> Recorded:
    return next(one for one in recorded() if one.name == name)


@cache
def deliveries() -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads((RECORDED / "webhooks.json").read_text())["deliveries"])


def recorded_secret() -> str:
    return str(json.loads((RECORDED / "webhooks.json").read_text())["secret"])


@cache
def description() -> OpenAPI:
    return OpenAPI.from_dict(_mended(json.loads((RECORDED / "openapi.json").read_text())))


def _mended(spec: dict[str, Any]) -> dict[str, Any]:
    mended = copy.deepcopy(spec)
    schemas = mended["components"]["schemas"]
    for name in ("avatar_url", "cover_image_url"):
        for schema in schemas.values():
            if name in schema.get("properties", {}):
                schema["properties"][name]["nullable"] = True
    # A default state has an empty slug; rows of project members have no role and are users.
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            field.pop("pattern", None)
    members = mended["paths"]["/api/v1/workspaces/{slug}/projects/{project_id}/members/"]["get"]["responses"]["200"]
    users = {"type": "array", "items": {"$ref": "#/components/schemas/UserLite"}}
    members["content"] = {"application/json": {"schema": users}}
    return mended


def problem(exchange: Exchange) -> str:
    """What Plane's description says against a request of ours or an answer of the stand-in; empty: nothing."""
    request, reply = exchange.request, exchange.reply
    asked = MockRequest(
        "http://plane.example",
        request.method.lower(),
        request.path,
        args=request.query,
        headers={name: value for name, value in request.headers.items() if name.lower() == "x-api-key"},
        data=request.body or None,
        content_type="application/json",
    )
    try:
        description().validate_request(asked)
    except Exception as error:
        return f"the request {request.method} {request.path}: {_whole(error)}"
    if reply.status in UNDOCUMENTED or reply.status == 204:
        return ""
    try:
        description().validate_response(asked, MockResponse(json.dumps(reply.body).encode(), reply.status))
    except (ResponseNotFound, DataValidationError) as error:
        return f"the answer {reply.status} to {request.method} {request.path}: {_whole(error)}"
    except Exception as error:
        # Error statuses are described without a body.
        return "" if reply.status >= 400 else f"{request.method} {request.path}: {_whole(error)}"
    return ""


def _whole(error: BaseException | None) -> str:
    words = []
    while error is not None:
        words.append(str(error) or type(error).__name__)
        words += [str(one) for one in getattr(error, "schema_errors", ())]
        error = error.__cause__
    return " / ".join(words)[:1500]
