"""What goes wrong, told as JSON to programs and as a page to people; never a traceback."""

from __future__ import annotations

import logging
from typing import Final

from flask import Flask, Response, jsonify, make_response, render_template, request
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from orchestrator import logs
from orchestrator.domain.errors import (
    ConfigurationError,
    LostRaceError,
    NeedsHumanError,
    NotAllowedError,
    NotFoundError,
    OrchestratorError,
    PermanentError,
    TransientError,
    UsageError,
)
from orchestrator.store import counters
from web.auth import wants_page
from web.parts import parts

_log: Final = logging.getLogger(__name__)
_STATUS: Final[tuple[tuple[type[OrchestratorError], int, str], ...]] = (
    (NotFoundError, 404, "not_found"),
    (NotAllowedError, 403, "not_allowed"),
    (UsageError, 400, "bad_request"),
    (LostRaceError, 409, "changed_under_you"),
    (NeedsHumanError, 409, "needs_a_person"),
    (ConfigurationError, 503, "configuration"),
    (TransientError, 503, "unavailable"),
    (PermanentError, 502, "refused_outside"),
    (OrchestratorError, 500, "failed"),
)
"""The first class that fits gives the answer."""


def handle(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(OrchestratorError, _ours)
    app.register_error_handler(OperationalError, _no_database)
    app.register_error_handler(Exception, _unexpected)


def tell(status: int, code: str, message: str, remedy: str = "") -> Response:
    """The answer for an error, in the form that fits who asked."""
    shown = logs.masked(message)
    if wants_page(request):
        page = render_template("error.html", status=status, message=shown, remedy=logs.masked(remedy))
        return make_response(page, status)
    error = {"code": code, "message": shown}
    return make_response(jsonify({"error": {**error, **({"remedy": logs.masked(remedy)} if remedy else {})}}), status)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    answer = tell(status, (error.name or "error").lower().replace(" ", "_"), error.description or error.name)
    for name, value in error.get_headers():
        if name in ("Allow", "Location", "Retry-After"):
            answer.headers[name] = value
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _ours(error: OrchestratorError) -> Response:
    status, code = next((status, code) for kind, status, code in _STATUS if isinstance(error, kind))
    if status >= 500:
        _log.warning("%s %s: %s", request.method, request.path, error)
    return tell(status, code, error.message, error.remedy)


def _no_database(error: OperationalError) -> Response:
    _log.warning("the database does not answer: %s", logs.masked(str(error.orig)).strip())
    answer = tell(503, "unavailable", "the database does not answer", "try again in a moment")
    answer.headers["Retry-After"] = "5"
    return answer


def _unexpected(error: Exception) -> Response:
    """A defect of ours: logged with its traceback and counted by route; the answer says nothing of it."""
    _log.exception("%s %s failed", request.method, request.path, exc_info=error)
    try:
        with parts().store.transaction() as connection:
            counters.add(connection, "web_errors_total", str(request.url_rule or "none"))
    except Exception:
        _log.exception("the failure could not be counted")
    return tell(500, "failed", "this request failed; the log of the web app says why")
