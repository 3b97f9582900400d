"""Deliveries of trackers and forges: checked, kept, answered. What they say is read again later, by somebody else.

A sender takes any answer as delivered, or stops sending after failures: so a delivery is kept in the database or,
while that is down, synced to disk, before it is answered.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from flask import Blueprint, Response, jsonify, make_response, request
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from werkzeug.exceptions import BadRequest, ServiceUnavailable, Unauthorized

from orchestrator import bootstrap, logs
from orchestrator.engine import spool
from orchestrator.engine.spool import SpooledDelivery
from orchestrator.failpoints import hit
from orchestrator.secret import Secret
from orchestrator.settings import Settings
from orchestrator.store import inbox
from orchestrator.store.inbox import Received
from web.parts import Parts, parts

routes: Final = Blueprint("webhooks", __name__, url_prefix="/webhooks")
_log: Final = logging.getLogger(__name__)
_draining: Final = threading.Lock()


def _nothing_against(_body: Mapping[str, object]) -> str:
    return ""


def _newer_than_v1(body: Mapping[str, object]) -> str:
    """Plane's «webhooks v2» name their version; their fields are others, so they would only look understood."""
    if "version" not in body:
        return ""
    return (
        f"this is a delivery of Plane's webhooks {str(body['version'])[:20]}, which are not understood here: "
        "make a webhook of version 1 in the workspace settings"
    )


@dataclass(frozen=True, slots=True)
class Sender:
    """Where one kind of sender puts its proof. Signatures are HMAC-SHA256 over the raw body, in hex.

    ``stable_id``: a repeated delivery keeps its id; elsewhere only its body tells. ``any_answer_counts``: an error is
    taken as delivered too, so that only a connection that breaks off is tried again. ``against`` says why a body that
    is signed right is refused all the same.
    """

    name: str
    secret: Callable[[Settings], Secret | None]
    secret_variable: str
    signature_header: str
    signature_prefix: str
    delivery_header: str
    event_header: str
    stable_id: bool = False
    any_answer_counts: bool = False
    against: Callable[[Mapping[str, object]], str] = _nothing_against


SENDERS: Final = {
    sender.name: sender
    for sender in (
        Sender(
            "plane",
            lambda settings: settings.plane_webhook_secret,
            "ORCH_PLANE_WEBHOOK_SECRET",
            "X-Plane-Signature",
            "",
            "X-Plane-Delivery",
            "X-Plane-Event",
            any_answer_counts=True,
            against=_newer_than_v1,
        ),
        Sender(
            "gitea",
            lambda settings: settings.gitea_webhook_secret,
            "ORCH_GITEA_WEBHOOK_SECRET",
            "X-Gitea-Signature",
            "",
            "X-Gitea-Delivery",
            "X-Gitea-Event-Type",
        ),
        Sender(
            "github",
            lambda settings: settings.github_webhook_secret,
            "ORCH_GITHUB_WEBHOOK_SECRET",
            "X-Hub-Signature-256",
            "sha256=",
            "X-GitHub-Delivery",
            "X-GitHub-Event",
            stable_id=True,
        ),
    )
}


@routes.post("/plane", endpoint="plane", defaults={"source": "plane"})
@routes.post("/gitea", endpoint="gitea", defaults={"source": "gitea"})
@routes.post("/github", endpoint="github", defaults={"source": "github"})
def receive(source: str) -> Response:
    """202 once the delivery is kept."""
    sender = SENDERS[source]
    body = request.get_data(cache=False)
    _check_signature(sender, body)
    _check_body(sender, body)
    try:
        delivery, duplicate = _keep(parts(), _delivery(sender, body))
    except ServiceUnavailable:
        if sender.any_answer_counts:
            _hang_up()
        raise
    return make_response(jsonify({"delivery": delivery, "duplicate": duplicate}), 202)


def _hang_up() -> None:
    """Close the connection without an answer, where the web server lets us: then the sender tries again."""
    for server in ("gunicorn.socket", "werkzeug.socket"):
        connection = request.environ.get(server)
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _check_signature(sender: Sender, body: bytes) -> None:
    secret = sender.secret(parts().settings)
    if secret is None or not secret.reveal():
        _log.error("a delivery of %s is refused: %s is not set", sender.name, sender.secret_variable)
        raise Unauthorized(f"{sender.secret_variable} is not set here, so no delivery can be told from a forgery")
    given = request.headers.get(sender.signature_header, "")
    right = sender.signature_prefix + hmac.new(secret.reveal().encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(given.strip().encode(), right.encode()):
        raise Unauthorized(f"{sender.signature_header} is missing or wrong: compare the secret at both ends")


def _check_body(sender: Sender, body: bytes) -> None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON: set the content type of the webhook to JSON") from error
    if not isinstance(found, dict):
        raise BadRequest("the body is not a JSON object")
    against = sender.against(found)
    if against:
        _log.error("a delivery of %s is refused: %s", sender.name, against)
        raise BadRequest(against)


def _delivery(sender: Sender, body: bytes) -> SpooledDelivery:
    event = request.headers.get(sender.event_header, "")
    given = request.headers.get(sender.delivery_header, "")
    # By meaning where it can be told, else by content: a repeated attempt, or a second hook to this address, has the
    # same body and, at some senders, another id.
    told = bootstrap.delivery_meaning(sender.name, event, body) or hashlib.sha256(body).hexdigest()
    key = given if sender.stable_id and given else f"{event}:{told}"
    delivery = given or key
    return SpooledDelivery(sender.name, delivery[:200], key[:200], event[:200], body)


def _keep(found: Parts, delivery: SpooledDelivery) -> tuple[str, bool]:
    """(delivery, duplicate) once it cannot be lost any more."""
    try:
        row = _write_row(found, delivery)
    except SQLAlchemyError as error:
        _log.warning("a delivery of %s goes to the spool: %s", delivery.source, logs.masked(type(error).__name__))
        _spool(found, delivery)
        return delivery.delivery, False
    hit("inbox.committed")
    if not row.duplicate:
        found.later.process_delivery(row.id)
    _drain(found)
    return delivery.delivery, row.duplicate


def _write_row(found: Parts, delivery: SpooledDelivery) -> Received:
    """One committed statement. A connection that broke meanwhile says nothing of what was done, and the key makes the
    second time harmless: it is written again on a new one."""
    try:
        return _receive(found, delivery)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return _receive(found, delivery)


def _receive(found: Parts, delivery: SpooledDelivery) -> Received:
    with found.intake_store.transaction() as connection:
        return inbox.receive(
            connection,
            source=delivery.source,
            delivery=delivery.delivery,
            dedupe_key=delivery.dedupe_key,
            event=delivery.event,
            body=delivery.body,
        )


def _spool(found: Parts, delivery: SpooledDelivery) -> None:
    try:
        spool.keep(spool.directory(found.settings.data_dir), delivery)
    except OSError as error:
        _log.exception("a delivery of %s could not be kept anywhere", delivery.source)
        raise ServiceUnavailable("neither the database nor the spool takes the delivery: send it again") from error


def _drain(found: Parts) -> None:
    """The database is back: what waited on disk goes with the first delivery after that, or with the next sweep."""
    where = spool.directory(found.settings.data_dir)
    if not where.is_dir() or not _draining.acquire(blocking=False):
        return
    try:
        spool.drain(found.store, where)
    except (SQLAlchemyError, OSError) as error:
        _log.warning("the spool waits for the next sweep: %s", logs.masked(type(error).__name__))
    finally:
        _draining.release()
