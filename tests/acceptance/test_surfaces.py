"""What people see and do about ownership: the release endpoint, the counters of the queue, the alert on their phone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.stages import Stage
from orchestrator.engine import reaper, reconciler
from tests.acceptance.scene import MERGEABLE, Web, count, merges, with_engine, world_of
from tests.engine.staged import Drives, reached, said, staged

TELEGRAM_TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


@dataclass
class BotApi:
    """A server on loopback that plays Telegram's Bot API; ``requests`` are (path, message)."""

    url: str = ""
    requests: list[tuple[str, dict[str, object]]] = field(default_factory=list)


@pytest.fixture
def bot_api() -> Iterator[BotApi]:
    api = BotApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            api.requests.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            body = b'{"ok": true, "result": {}}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield api
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_forced_reclaim_reaches_telegram_once_and_names_item_and_owner(
    tmp_path: Path, database_url: str, drives: Drives, bot_api: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    world, go = world_of(tmp_path, database_url, drives), tmp_path / "go"
    config = tmp_path / "orchestrator.yml"
    config.write_text(config.read_text() + "notifications: {notifiers: [telegram]}\n")
    telegram = {
        "ORCH_TELEGRAM_TOKEN": TELEGRAM_TOKEN,
        "ORCH_TELEGRAM_CHAT": "@deploys",
        "ORCH_TELEGRAM_URL": bot_api.url,
    }
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    owner = drives.start("drive", task.task_id, "monitor", 1, failpoints=f"{MERGEABLE}.after=wait:{go}", **telegram)
    reached(go)
    told = with_engine(world, **telegram)
    world.change("UPDATE transition_lease SET acquired_at = now() - interval '7 hours'")
    for _ in range(2):
        assert not reaper.reap(told.engine).failures
    [(path, message)] = bot_api.requests
    assert path == f"/bot{TELEGRAM_TOKEN}/sendMessage"
    assert message["chat_id"] == "@deploys"
    text = str(message["text"])
    assert "DEMO-1: forced reclaim" in text
    assert f"/{owner.pid}@" in text and "is dead, its lease was taken away" in text


def test_the_queue_shows_the_live_owner_and_the_release_endpoint_takes_its_lease_away_for_good(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world, go = world_of(tmp_path, database_url, drives), tmp_path / "go"
    web = Web.of(world, tracker="local", forge="local")
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    owner = drives.start("drive", task.task_id, "finalizer", 1, failpoints=f"stage.before_commit=wait:{go}")
    reached(go)
    world.change("UPDATE jobs SET exited_at = now() - interval '2 hours' WHERE status = 'running'")
    reaper.reap(world.engine)
    reconciler.reconcile(world.engine)
    queue: Any = web.get("/queue")
    [lease] = queue["transition_lease"]
    assert (lease["work_item"], lease["actor"]) == ("DEMO-1", "finalizer")
    assert f"/{owner.pid}@" in lease["owner"]
    assert (queue["finalizer_defers_total"], queue["finalizer_owned"]) == (1, 1)
    assert queue["reconciler"]["deferrals"] == {"reconciler": 1}
    assert queue["switches"]["settings"]
    assert web.post("/transition-lease/release?work_item=DEMO-9")[0] == 404
    assert web.post("/transition-lease/release?work_item=DEMO-1")[0] == 200
    assert web.post("/transition-lease/release?work_item=DEMO-1")[0] == 409
    go.touch()
    assert [one[0] for one in said(owner)] == ["lost"]
    assert count(world, "cas_lost_total") == 1
    world.run_until(lambda: world.stage(task.work_item) == "done")
    assert merges(world) == 1
    [(actor,)] = world.rows("SELECT actor FROM events WHERE kind = 'lease.forced'")
    assert actor.startswith("operator:")
