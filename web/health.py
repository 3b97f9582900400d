"""For programs that watch: liveness, readiness, metrics and the queue."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from flask import Blueprint, Response, jsonify, make_response
from kombu.connection import Connection as Broker
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import messages, metrics
from orchestrator.settings import Settings
from orchestrator.store import migrations, read_models
from web.parts import parts, reading

routes: Final = Blueprint("health", __name__)


@routes.get("/livez")
def livez() -> Response:
    """This process serves requests. Nothing else is looked at: a restart of it would mend nothing else."""
    return jsonify({"status": "ok", "version": parts().settings.release or metrics.build_version()})


@routes.get("/readyz")
def readyz() -> Response:
    """Whether requests can be served: database there, schema ours. A broker that is down is told, and is no reason."""
    problem = _database_problem()
    broker = "ok" if _broker_answers(parts().settings) else "down: nudges wait for the sweeps"
    status = problem or ("ok" if broker == "ok" else "degraded")
    body = {"status": status, "database": problem or "ok", "broker": broker}
    return make_response(jsonify(body), 503 if problem else 200)


def _database_problem() -> str:
    try:
        with reading() as connection:
            found = migrations.version(connection)
    except SQLAlchemyError:
        return "the database does not answer"
    if found == migrations.head():
        return ""
    return f"the schema is at {found}, this program needs {migrations.head()}: run `orch db upgrade`"


def _broker_answers(settings: Settings) -> bool:
    url = settings.broker_url or ""
    made = Broker(url, transport_options=messages.transport_options(url))  # type: ignore[no-untyped-call]  # no types
    with made as broker:
        try:
            broker.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=1)
        except (BrokerError, OSError):
            return False
    return True


@routes.get("/metrics")
def show_metrics() -> Response:
    """The figures, in the text format of Prometheus."""
    with reading() as connection:
        text = metrics.render(connection)
    return Response(text, content_type=metrics.CONTENT_TYPE)


@routes.get("/queue")
def queue() -> Response:
    """The state of everything that moves or waits."""
    with reading() as connection:
        found = read_models.queue(connection, asdict(parts().settings.switches))
    return jsonify(read_models.plain(found))
