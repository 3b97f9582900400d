"""Notifiers: the log with its file, and Telegram's Bot API against a real server on loopback."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from orchestrator.adapters.notifiers.log import LogNotifier
from orchestrator.adapters.notifiers.telegram import TelegramNotifier
from orchestrator.domain.errors import NeedsHumanError, PermanentError, TransientError
from orchestrator.ports import Notification
from orchestrator.secret import Secret
from tests.adapters.contracts.at_once import at_once

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


# --- log ---------------------------------------------------------------------------------------------------------


def test_each_notification_is_one_line_that_a_program_can_count(tmp_path: Path) -> None:
    file = tmp_path / "data" / "notifications.jsonl"
    LogNotifier(file).send(Notification("DEMO-1 is done", "two\nlines", "info"))
    LogNotifier(file).send(Notification("DEMO-2 waits", "half a pair \udc80", "warning"))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(one["title"], one["text"], one["severity"]) for one in lines] == [
        ("DEMO-1 is done", "two\nlines", "info"),
        ("DEMO-2 waits", "half a pair \udc80", "warning"),
    ]
    assert file.stat().st_mode & 0o077 == 0


def test_notifications_of_many_writers_do_not_mix(tmp_path: Path) -> None:
    file = tmp_path / "notifications.jsonl"

    def send_five(index: int) -> None:
        for _ in range(5):
            LogNotifier(file).send(Notification(f"{index}", "x" * 20_000))

    assert at_once(8, send_five) == [None] * 8
    titles = [json.loads(line)["title"] for line in file.read_text().splitlines()]
    assert sorted(titles) == sorted(str(index) for index in range(8) for _ in range(5))


def test_an_alert_is_an_error_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LogNotifier(tmp_path / "n.jsonl").send(Notification("disk", "is full", "alert"))
    assert [(one.levelno, one.getMessage()) for one in caplog.records] == [(logging.ERROR, "disk: is full")]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TransientError, match=r"file/n\.jsonl"):
        LogNotifier(tmp_path / "file" / "n.jsonl").send(Notification("t", "x"))


# --- Telegram ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class BotApi:
    """A server that answers with ``status`` and ``body`` and keeps what it was sent."""

    url: str
    status: int = 200
    body: str = '{"ok": true, "result": {}}'
    headers: dict[str, str] = field(default_factory=dict)
    delay: threading.Event = field(default_factory=threading.Event)
    silent: bool = False
    requests: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def notifier(self, seconds: float = 5.0) -> TelegramNotifier:
        return TelegramNotifier(Secret(TOKEN), "@deploys", api=self.url, timeout=httpx.Timeout(seconds))


@pytest.fixture
def bot_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[BotApi]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
            api.requests.append((self.path, sent))
            if api.silent:
                api.delay.wait(timeout=30)
                return
            self.send_response(api.status)
            for name, value in {**api.headers, "content-length": str(len(api.body.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(api.body.encode())

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = BotApi(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield api
    api.delay.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_message_reaches_the_chat_as_plain_text(bot_api: BotApi) -> None:
    bot_api.notifier().send(Notification("DEMO-1 <b>done</b>", "a_b *c*", "alert"))
    [(path, sent)] = bot_api.requests
    assert path == f"/bot{TOKEN}/sendMessage"
    assert sent["chat_id"] == "@deploys"
    assert sent["text"] == "🚨 DEMO-1 <b>done</b>\na_b *c*"
    assert "parse_mode" not in sent


@pytest.mark.parametrize("filler", ["x", "🚨"])
def test_a_message_that_is_too_long_is_cut(bot_api: BotApi, filler: str) -> None:
    bot_api.notifier().send(Notification("tt", filler * 5000))
    text = str(bot_api.requests[0][1]["text"])
    assert len(text.encode("utf-16-le")) // 2 in (4095, 4096)
    assert text.startswith("tt\n" + filler)
    assert text.endswith(filler + " …")


def test_a_rate_limit_says_when_to_come_back(bot_api: BotApi) -> None:
    bot_api.status, bot_api.body = 429, '{"ok": false, "description": "slow", "parameters": {"retry_after": 17}}'
    with pytest.raises(TransientError, match="slow") as caught:
        bot_api.notifier().send(Notification("t", "x"))
    assert caught.value.retry_after_s == 17


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, '{"ok": false, "description": "Bad Request: chat not found"}', PermanentError, "chat not found.*_CHAT"),
        (403, '{"ok": false, "description": "Forbidden: bot was kicked"}', PermanentError, "kicked"),
        (401, '{"ok": false, "description": "Unauthorized"}', NeedsHumanError, "ORCH_TELEGRAM_TOKEN"),
        (404, '{"ok": false, "description": "Not Found"}', NeedsHumanError, "ORCH_TELEGRAM_TOKEN"),
        (302, "", PermanentError, "302"),
        (400, "<html>", PermanentError, "400 Bad Request"),
        (400, '["x"]', PermanentError, "400"),
        (429, '{"parameters": {"retry_after": "soon"}}', TransientError, "429"),
        (500, "", TransientError, "500"),
        (502, "<html>bad gateway</html>", TransientError, "502"),
        (400, json.dumps({"description": f"no bot{TOKEN}"}), PermanentError, "no bot"),
    ],
)
def test_a_refusal_is_told_by_its_kind_and_never_names_the_token(
    bot_api: BotApi, status: int, body: str, kind: type[Exception], words: str
) -> None:
    bot_api.status, bot_api.body = status, body
    bot_api.headers = {"location": "/elsewhere"} if status == 302 else {}
    with pytest.raises(kind, match=words) as caught:
        bot_api.notifier().send(Notification("t", "x"))
    assert TOKEN not in str(caught.value)
    assert len(bot_api.requests) == 1


def test_a_service_that_does_not_answer_in_time_may_have_sent_it(bot_api: BotApi) -> None:
    bot_api.silent = True
    began = time.monotonic()
    with pytest.raises(TransientError, match="did not answer") as caught:
        bot_api.notifier(0.2).send(Notification("t", "x"))
    assert time.monotonic() - began < 30
    assert TOKEN not in repr(caught.value.__cause__) + str(caught.value)


def test_a_service_that_is_not_there_is_named_without_the_token() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TransientError, match=r"127\.0\.0\.1") as caught:
        TelegramNotifier(Secret(TOKEN), "1", api=url).send(Notification("t", "x"))
    assert TOKEN not in str(caught.value)


def _lines(caplog: pytest.LogCaptureFixture, act: Callable[[], None]) -> str:
    with caplog.at_level(logging.DEBUG):
        act()
    return "\n".join(record.getMessage() for record in caplog.records)


def test_the_token_stands_in_no_log_line(bot_api: BotApi, caplog: pytest.LogCaptureFixture) -> None:
    logged = _lines(caplog, lambda: bot_api.notifier().send(Notification("t", "x")))
    assert "sendMessage" in logged
    assert TOKEN not in logged
