"""Logs: one line a record, with its context and without a secret, whatever is logged."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from orchestrator import logs
from orchestrator.secret import MASK

log = logging.getLogger("orchestrator.test")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., io.StringIO]]:
    """Sets logging up on a buffer, and leaves the process as it was."""
    root = logging.getLogger()
    before = (root.handlers, root.level, sys.excepthook, threading.excepthook)
    monkeypatch.setattr(logs, "_secrets", set())
    monkeypatch.setattr(logs, "_pattern", None)

    def call(style: str = "json", *secrets: str, level: str = "INFO") -> io.StringIO:
        stream = io.StringIO()
        # Those of pytest fail in their own way.
        root.handlers = [one for one in root.handlers if isinstance(one, logs._MaskingHandler)]
        logs.set_up(level=level, style=style, secrets=secrets, stream=stream)
        return stream

    yield call
    root.handlers, root.level, sys.excepthook, threading.excepthook = before
    logging.captureWarnings(capture=False)


def test_a_line_of_json_tells_what_where_and_about_what(lines) -> None:
    stream = lines()
    with logs.about(work_item="ORCH-1", task_id=7, actor="reaper"):
        log.warning("reaped %s", "job", extra={"tier": 2})
    line = json.loads(stream.getvalue())
    assert line.items() >= {
        ("level", "warning"),
        ("logger", "orchestrator.test"),
        ("message", "reaped job"),
        ("work_item", "ORCH-1"),
        ("task_id", 7),
        ("actor", "reaper"),
        ("tier", 2),
    }
    assert line["time"].endswith("+00:00")


def test_an_inner_context_adds_to_the_outer_one_and_ends(lines) -> None:
    stream = lines()
    with logs.about(work_item="ORCH-1"):
        with logs.about(task_id=7):
            log.info("inner")
        log.info("outer")
    log.info("none")
    inner, outer, none = map(json.loads, stream.getvalue().splitlines())
    assert (inner["work_item"], inner["task_id"]) == ("ORCH-1", 7)
    assert outer["work_item"] == "ORCH-1"
    assert "task_id" not in outer
    assert "work_item" not in none


def test_text_is_one_readable_line(lines) -> None:
    stream = lines("text")
    with logs.about(work_item="ORCH-1"):
        log.info("moved")
    assert stream.getvalue().split(" ", 1)[1] == "info    moved  work_item=ORCH-1\n"


def test_what_others_printed_cannot_pass_for_a_line_or_move_the_cursor(lines) -> None:
    stream = lines("text")
    log.info("agent said: %s", "x\n12:00:00 info done\x1b[2J\r")
    first, second = stream.getvalue().splitlines()
    assert second.startswith("    ")
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
    assert first.endswith("agent said: x")


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("secret", ["s3cret", 'a"b\\c', "ünï cödé", "p@ss/w%rd", "it's"])
def test_a_known_secret_is_in_no_line_in_no_spelling(lines, style: str, secret: str) -> None:
    stream = lines(style, secret)
    log.info("message %s and %r", secret, secret, extra={"field": {"deep": [secret]}, "url": f"http://x?{secret}"})
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")
    log.info("quoted %s", quote(secret, safe=""))
    text = stream.getvalue()
    for spelling in logs.spellings(secret):
        assert spelling not in text
    assert text.count(MASK) >= 6


def test_a_secret_inside_a_longer_one_leaves_nothing_behind(lines) -> None:
    lines("json", "abcd", "abcdefgh")
    assert logs.masked("x abcdefgh y abcd") == "x **** y ****"


def test_a_secret_that_comes_later_is_masked_from_then_on(lines) -> None:
    lines()
    logs.hide("later-secret", "", "abc")
    assert logs.masked("abc later-secret") == "abc ****"


def test_a_log_call_that_fails_shows_nothing_of_its_arguments(lines, capsys: pytest.CaptureFixture[str]) -> None:
    stream = lines()
    log.info("%d", "s3cret-argument")
    assert "failed: TypeError" in stream.getvalue()
    assert "s3cret" not in stream.getvalue() + capsys.readouterr().err


def test_setting_up_twice_writes_each_line_once(lines) -> None:
    first, second = lines(), lines()
    log.info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_the_level_is_that_of_the_settings(lines) -> None:
    stream = lines(level="WARNING")
    log.info("too little")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("thread", [False, True])
def test_an_uncaught_error_is_a_line_without_secrets(thread: bool) -> None:
    code = (
        "import threading\nfrom orchestrator import logs\nlogs.set_up(secrets=('s3cret',))\n"
        "def fail(): raise ValueError('s3cret')\n"
        + ("t = threading.Thread(target=fail); t.start(); t.join()" if thread else "fail()")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    line = json.loads(done.stderr)
    assert line["message"] == "uncaught ValueError"
    # The source line that raised it stands in the traceback; there it is masked, too.
    assert "s3cret" not in done.stderr
