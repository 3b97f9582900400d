"""The pages in a real browser: nothing is blocked by the policy, and a change shows without a reload."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.serving import make_server

from orchestrator.store.database import Store
from tests.rows import start_task
from tests.web.conftest import TOKEN

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs the browser {CHROMIUM}, which is not there"),
]
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra browser)")


@pytest.fixture
def address(make_app: Callable[..., Flask]) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, make_app(), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)


def test_a_person_logs_in_and_sees_a_new_item_without_reloading(address: str, store: Store) -> None:
    start_task(store, title="<b>the first</b>")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.goto(f"{address}/")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_label("Your name").fill("ann")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("<b>the first</b>").wait_for()
        start_task(store, "D-2", "the second")
        page.get_by_text("the second").wait_for(timeout=15_000)
        page.get_by_role("link", name="D-2").click()
        page.get_by_role("heading", name="D-2").wait_for()
        assert complaints == []
        browser.close()
