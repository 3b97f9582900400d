"""A delivery is checked, kept and answered; whatever is down, one that was answered is not lost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from orchestrator import messages
from orchestrator.embedded import Places
from orchestrator.engine import spool
from orchestrator.secret import Secret
from orchestrator.settings import Settings
from orchestrator.store import inbox
from orchestrator.store.database import Store
from tests.web.conftest import SECRET
from web import create_app
from web.webhooks import SENDERS

BODY = json.dumps({"event": "issue", "action": "updated", "data": {"id": "1"}}).encode()
NO_DATABASE = "postgresql+psycopg://postgres@/x?host=/nowhere"


def _signed(name: str, body: bytes = BODY, secret: str = SECRET, **more: str) -> dict[str, str]:
    sender = SENDERS[name]
    signature = sender.signature_prefix + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        sender.signature_header: signature,
        sender.delivery_header: "delivery-1",
        sender.event_header: "issue",
        "Content-Type": "application/json",
        **more,
    }


def _deliver(
    client: FlaskClient, name: str = "plane", body: bytes = BODY, headers: dict[str, str] | None = None
) -> TestResponse:
    return client.post(f"/webhooks/{name}", data=body, headers=_signed(name, body) | (headers or {}))


def _kept(store: Store) -> list[inbox.Delivery]:
    with store.transaction() as connection:
        return list(inbox.due(connection))


@pytest.mark.parametrize("name", sorted(SENDERS))
def test_a_signed_delivery_is_kept_and_answered(client: FlaskClient, store: Store, name: str) -> None:
    answer = _deliver(client, name)
    assert (answer.status_code, answer.json) == (202, {"delivery": "delivery-1", "duplicate": False})
    kept = _kept(store)
    assert [(one.source, one.delivery, one.event, one.body) for one in kept] == [(name, "delivery-1", "issue", BODY)]


def test_a_signature_of_the_documentation_is_right(make_app: Callable[..., Flask]) -> None:
    """The vector that GitHub publishes: it is signed right, and refused only because it is not JSON."""
    app = make_app(github_webhook_secret=Secret("It's a Secret to Everybody"))
    right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    answer = app.test_client().post("/webhooks/github", data=b"Hello, World!", headers={"X-Hub-Signature-256": right})
    assert answer.status_code == 400


@pytest.mark.parametrize("name", sorted(SENDERS))
@pytest.mark.parametrize("given", ["", "sha256=", "0" * 64, "sha256=" + "0" * 64, "\xe4"])
def test_a_wrong_signature_is_refused_and_nothing_is_kept(
    client: FlaskClient, store: Store, name: str, given: str
) -> None:
    answer = _deliver(client, name, headers={SENDERS[name].signature_header: given})
    assert (answer.status_code, answer.json["error"]["code"]) == (401, "unauthorized")
    assert _kept(store) == []


def test_one_changed_byte_makes_the_signature_wrong(client: FlaskClient) -> None:
    assert client.post("/webhooks/plane", data=BODY + b" ", headers=_signed("plane")).status_code == 401


@pytest.mark.parametrize("secret", [None, Secret("")])
def test_without_a_secret_every_delivery_is_refused_even_one_signed_with_nothing(
    make_app: Callable[..., Flask], secret: Secret | None
) -> None:
    client = make_app(plane_webhook_secret=secret).test_client()
    answer = client.post("/webhooks/plane", data=BODY, headers=_signed("plane", secret=""))
    assert answer.status_code == 401
    assert "ORCH_PLANE_WEBHOOK_SECRET" in answer.json["error"]["message"]


def test_the_api_token_is_no_signature(api: FlaskClient) -> None:
    assert api.post("/webhooks/plane", data=BODY).status_code == 401


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b'"text"', b"{" * 10_000, b"\xff\xfe"])
def test_what_is_no_json_object_is_refused(client: FlaskClient, store: Store, body: bytes) -> None:
    assert _deliver(client, body=body).status_code == 400
    assert _kept(store) == []


def test_more_than_a_mebibyte_is_refused(client: FlaskClient) -> None:
    body = json.dumps({"data": "x" * (1024 * 1024)}).encode()
    answer = _deliver(client, body=body)
    assert (answer.status_code, answer.json["error"]["code"]) == (413, "request_entity_too_large")
    assert _deliver(client, body=json.dumps({"data": "x" * 1_000_000}).encode()).status_code == 202


def test_a_repeated_body_is_a_duplicate_whatever_its_delivery_id(client: FlaskClient, store: Store) -> None:
    """Senders try again with the same body and another id."""
    _deliver(client)
    again = _deliver(client, headers={"X-Plane-Delivery": "delivery-2"})
    assert (again.status_code, again.json["duplicate"]) == (202, True)
    assert len(_kept(store)) == 1
    assert _deliver(client, "gitea").json["duplicate"] is False


def test_a_kept_delivery_is_nudged_once(
    make_app: Callable[..., Flask], broker_url: str, valkey_server: Places, store: Store
) -> None:
    app = make_app(broker_url=broker_url)
    client = app.test_client()
    _deliver(client)
    _deliver(client)
    assert app.extensions["orchestrator"].later.settle(30), "the message leaves in the background"
    with redis.Redis(unix_socket_path=str(valkey_server.valkey_socket)) as broker:
        waiting = [json.loads(one) for one in broker.lrange(messages.INTAKE, 0, -1)]
    sent = [(one["headers"]["task"], json.loads(base64.b64decode(one["body"]))[1]) for one in waiting]
    assert sent == [(messages.PROCESS_DELIVERY, {"delivery_id": _kept(store)[0].id})]


def test_a_broker_that_is_down_costs_a_delivery_nothing(client: FlaskClient, store: Store) -> None:
    assert _deliver(client).status_code == 202
    assert len(_kept(store)) == 1


def test_a_delivery_of_a_newer_kind_of_webhook_is_refused_with_the_mend(client: FlaskClient, store: Store) -> None:
    body = json.dumps({"version": "v2", "event": "workitem.updated", "data": {}}).encode()
    answer = _deliver(client, "plane", body)
    assert answer.status_code == 400
    assert "make a webhook of version 1" in answer.json["error"]["message"]
    assert _kept(store) == []
    assert _deliver(client, "gitea", body).status_code == 202


def test_a_delivery_that_github_sends_again_keeps_its_id_and_is_one(client: FlaskClient, store: Store) -> None:
    _deliver(client, "github", b'{"a": 1}', {"X-GitHub-Delivery": "guid-1"})
    assert _deliver(client, "github", b'{"a": 1}', {"X-GitHub-Delivery": "guid-1"}).json["duplicate"] is True
    assert _deliver(client, "github", b'{"a": 1}', {"X-GitHub-Delivery": "guid-2"}).json["duplicate"] is False
    assert len(_kept(store)) == 2


def test_an_event_that_comes_by_two_hooks_of_gitea_is_one(client: FlaskClient, store: Store) -> None:
    _deliver(client, "gitea", headers={"X-Gitea-Delivery": "uuid-1"})
    assert _deliver(client, "gitea", headers={"X-Gitea-Delivery": "uuid-2"}).json["duplicate"] is True
    assert len(_kept(store)) == 1


def test_a_connection_that_a_restart_of_the_database_broke_sends_no_delivery_to_the_disk(
    settings: Settings, store: Store
) -> None:
    app = create_app(settings)
    client = app.test_client()
    _deliver(client)
    with store.transaction() as connection:
        ended = connection.exec_driver_sql(
            "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).scalar_one()
    assert ended
    assert _deliver(client, body=b'{"other": 1}').status_code == 202
    assert not spool.directory(settings.data_dir).exists()
    assert len(_kept(store)) == 2
    for made in (app.extensions["orchestrator"].store, app.extensions["orchestrator"].intake_store):
        made.engine.dispose()


# --- the database is down ---------------------------------------------------------------------------------


@pytest.fixture
def without_database(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app(database_url=NO_DATABASE).test_client()


def test_with_the_database_down_the_delivery_waits_on_disk_and_is_kept_later(
    without_database: FlaskClient, client: FlaskClient, settings: Settings, store: Store
) -> None:
    assert _deliver(without_database).status_code == 202
    where = spool.directory(settings.data_dir)
    assert len(list(where.iterdir())) == 1
    assert where.stat().st_mode & 0o077 == 0
    assert _kept(store) == []
    # The database is back: the next delivery takes what waits with it.
    assert _deliver(client, body=b'{"other": 1}').status_code == 202
    assert {one.body for one in _kept(store)} == {BODY, b'{"other": 1}'}
    assert list(where.iterdir()) == []


def test_a_spooled_delivery_that_was_kept_before_is_no_second_one(
    without_database: FlaskClient, client: FlaskClient, settings: Settings, store: Store
) -> None:
    _deliver(client)
    _deliver(without_database)
    assert spool.drain(store, spool.directory(settings.data_dir)) == 1
    assert len(_kept(store)) == 1


def test_a_file_that_cannot_be_read_is_set_aside_and_stops_nothing(
    without_database: FlaskClient, settings: Settings, store: Store
) -> None:
    _deliver(without_database)
    where = spool.directory(settings.data_dir)
    (where / "0-broken.json").write_text("{")
    assert spool.drain(store, where) == 1
    assert [file.name for file in where.iterdir()] == ["0-broken.unreadable"]


def test_with_neither_database_nor_disk_the_sender_is_told(without_database: FlaskClient, settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    spool.directory(settings.data_dir).write_text("a file is in the way")
    answer = _deliver(without_database)
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "service_unavailable")


@pytest.fixture
def served(make_app: Callable[..., Flask]) -> Iterator[str]:
    """Address of a real server whose database is down."""
    server = make_server("127.0.0.1", 0, make_app(database_url=NO_DATABASE), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def test_a_sender_that_takes_any_answer_as_delivered_gets_none_when_nothing_can_be_kept(
    served: str, settings: Settings
) -> None:
    """A connection that breaks off is the one thing that Plane tries again."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    spool.directory(settings.data_dir).write_text("a file is in the way")
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{served}/webhooks/plane", content=BODY, headers=_signed("plane"))
    assert httpx.post(f"{served}/webhooks/gitea", content=BODY, headers=_signed("gitea")).status_code == 503


def test_what_waited_on_disk_is_as_old_as_it_is(
    without_database: FlaskClient, settings: Settings, store: Store
) -> None:
    """A read that looks back from its arrival must look back far enough."""
    _deliver(without_database)
    [file] = spool.directory(settings.data_dir).iterdir()
    hour_ago = time.time_ns() - 3600 * 10**9
    file.rename(file.with_name(f"{hour_ago:020}-{file.name.partition('-')[2]}"))
    spool.drain(store, spool.directory(settings.data_dir))
    age = datetime.now(UTC) - _kept(store)[0].received_at
    assert timedelta(minutes=59) < age < timedelta(minutes=61)


def test_what_waited_on_disk_is_kept_in_the_order_in_which_it_came(
    without_database: FlaskClient, settings: Settings, store: Store
) -> None:
    for number in range(5):
        _deliver(without_database, body=json.dumps({"n": number}).encode())
    assert spool.drain(store, spool.directory(settings.data_dir)) == 5
    kept = sorted(_kept(store), key=lambda one: one.id)
    assert [json.loads(one.body)["n"] for one in kept] == list(range(5))


def test_a_forged_delivery_is_not_spooled_either(without_database: FlaskClient, settings: Settings) -> None:
    assert without_database.post("/webhooks/plane", data=BODY).status_code == 401
    assert not spool.directory(settings.data_dir).exists()


def test_deliveries_are_taken_while_the_configuration_is_broken(settings: Settings, store: Store) -> None:
    Path(settings.config_path).write_text("projects: [")
    app = create_app(settings)
    assert _deliver(app.test_client()).status_code == 202
    for made in (app.extensions["orchestrator"].store, app.extensions["orchestrator"].intake_store):
        made.engine.dispose()
