"""The pages in a real browser: nothing is blocked by the policy, and a change shows without a reload."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from orchestrator.settings import Settings
from orchestrator.store.database import Store
from tests.rows import start_task
from tests.web.conftest import TOKEN
from tests.web.test_pages import run_of, says

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


@contextmanager
def logged_in(url: str) -> Iterator[Any]:
    """The page behind the login, as ann sees it; nothing in it may complain."""
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.goto(url)
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_label("Your name").fill("ann")
        page.get_by_role("button", name="Log in").click()
        yield page
        assert complaints == []
        browser.close()


def test_a_person_logs_in_and_sees_a_new_item_without_reloading(address: str, store: Store) -> None:
    start_task(store, title="<b>the first</b>")
    with logged_in(f"{address}/") as page:
        page.get_by_text("<b>the first</b>").wait_for()
        start_task(store, "D-2", "the second")
        page.get_by_text("the second").wait_for(timeout=15_000)
        page.get_by_role("link", name="D-2").click()
        page.get_by_role("heading", name="D-2").wait_for()


def test_the_page_of_an_item_follows_what_its_agent_says(address: str, store: Store, settings: Settings) -> None:
    run_id = run_of(store, start_task(store))
    says(settings, run_id, "the first line")
    with logged_in(f"{address}/login?next=/items/D-1") as page:
        page.get_by_text("the first line").wait_for()
        says(settings, run_id, "a line that came <i>later</i>")
        # No event tells of it, so it is the following that finds it; the whole page is looked at far more rarely.
        page.get_by_text("a line that came <i>later</i>").wait_for(timeout=30_000)
