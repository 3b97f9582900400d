"""Pages: what they show is right, escaped, and works without scripts."""

from __future__ import annotations

import itertools
import re
import uuid
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Connection, text

import web
from orchestrator import logs
from orchestrator.adapters.host import LinuxHost
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import GateOutcome, GateResult
from orchestrator.settings import Settings
from orchestrator.store import (
    deployments,
    events,
    gate_results,
    jobs,
    ledger,
    read_models,
    stage_commits,
    switches,
    tasks,
    ticks,
)
from orchestrator.store.database import Store
from orchestrator.store.jobs import NewRun
from orchestrator.store.tasks import TaskRef
from tests.rows import park, start_task, take
from tests.web.conftest import FROM_OWN_PAGE
from web import live
from web.pages import span

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"
PAGES = ("/", "/items/D-1", "/lane", "/fleet")


class _Tags(HTMLParser):
    """Tags and attributes of a page; void elements never close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _fill(store: Store, words: str) -> None:
    """One item with every kind of row, each text of it chosen by others."""
    task = start_task(store, title=words, body=words)
    held = take(store, task)
    with store.transaction() as connection:
        result = GateResult(GateOutcome.FAIL, words * 10, head_sha="a" * 40)
        gate_results.record_if_epoch_holds(connection, held, "check_x", result, gate_results.Judged(0, 0, 1.0))
        _claim(connection, held, words)
        deployments.request(connection, task_id=task.id, visit=0, project="D", environment=words, sha="b" * 40)
        tasks.store_reasons(connection, task.id, [words, words], None)
        switches.throw(connection, "pause", "*", words, words)
        ticks.record(connection, "reap", ok=False, note=words)
        verdict = "jsonb_build_object('verdict', 'fail', 'summary', CAST(:w AS text))"
        connection.execute(text(f"UPDATE jobs SET detail = :w, verdict = {verdict}"), {"w": words})


def _claim(connection: Connection, held: HeldLease, words: str) -> None:
    claim = ledger.claim_if_epoch_holds(connection, held, ledger.EffectKey(0, EffectKind.NOTIFY, words), {"w": words})
    assert isinstance(claim, ledger.Claim)
    ledger.confirm_if_epoch_holds(connection, held, claim, {"w": words})


def test_what_others_wrote_is_shown_as_text_on_every_page(person: FlaskClient, store: Store) -> None:
    _fill(store, EVIL)
    for path in PAGES:
        page = person.get(path)
        assert page.status_code == 200
        names = [tag for tag, _ in _Tags(page.text).tags]
        assert names.count("script") == 1, path
        assert "img" not in names
        assert "onerror=alert(2)>" not in page.text.replace("&gt;", "")


def test_no_page_has_inline_script_or_style_or_reaches_another_host(person: FlaskClient, store: Store) -> None:
    _fill(store, "words")
    for path in (*PAGES, "/nothing", "/items/D-9"):
        for tag, attributes in _Tags(person.get(path).text).tags:
            assert tag != "style"
            assert not any(name == "style" or name.startswith("on") for name in attributes), (path, tag)
            for name in ("src", "href", "action"):
                assert re.match(r"(/(?!/)|#|$)", attributes.get(name) or ""), (path, attributes)
    for file in (Path(web.__file__).parent / "static").iterdir():
        content = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http" not in content, file


def test_every_answer_has_the_strict_policy(person: FlaskClient, client: FlaskClient) -> None:
    answers = [person.get(path) for path in ("/", "/lane", "/fleet", "/nothing", "/static/live.js", "/queue")]
    for answer in [*answers, client.get("/login"), client.get("/livez"), client.post("/webhooks/plane")]:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        answer.close()


def test_pages_are_not_kept_by_caches(person: FlaskClient) -> None:
    assert person.get("/").headers["Cache-Control"] == "no-store"


def test_every_page_has_a_heading_a_title_and_labelled_parts(person: FlaskClient, store: Store) -> None:
    _fill(store, "words")
    for path in (*PAGES, "/login"):
        tags = _Tags(person.get(path).text).tags
        names = [tag for tag, _ in tags]
        assert names.count("h1") == 1, path
        assert {"title", "main", "nav"} <= set(names)
        ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        for _, attributes in tags:
            if label := attributes.get("aria-labelledby"):
                assert label in ids
        for table in (one for one in tags if one[0] == "th"):
            assert table[1].get("scope") in ("col", "row")


def test_every_live_part_has_a_name_to_be_found_by(person: FlaskClient, store: Store) -> None:
    _fill(store, "words")
    for path in PAGES:
        parts = [attributes for _, attributes in _Tags(person.get(path).text).tags if "data-live" in attributes]
        assert len(parts) > 1
        assert all("id" in one for one in parts)


def test_the_board_shows_what_each_item_waits_for(person: FlaskClient, store: Store) -> None:
    first, _second = start_task(store), start_task(store, "D-2", "another")
    with store.transaction() as connection:
        tasks.store_reasons(connection, first.id, ["everything is paused"], None)
    page = person.get("/").text
    assert "everything is paused" in page
    assert 'href="/items/D-2"' in page
    assert "2 <span" in page


def test_an_empty_board_says_how_to_begin(person: FlaskClient) -> None:
    assert "orch add" in person.get("/").text


def test_forms_work_without_scripts_and_record_who(person: FlaskClient, store: Store) -> None:
    task = start_task(store)
    park(store, task)
    done = person.post("/items/D-1/retry", headers=FROM_OWN_PAGE)
    assert (done.status_code, done.headers["Location"]) == (303, "/items/D-1")
    assert person.post("/items/D-1/reject", data={"why": "slow"}, headers=FROM_OWN_PAGE).status_code == 303
    assert person.post("/items/D-1/stop", headers=FROM_OWN_PAGE).status_code == 303
    with store.snapshot() as connection:
        page = read_models.item(connection, "D-1")
    assert page is not None
    assert (page.rejected_by, page.rejected_why) == ("ann", "slow")
    assert page.stop is not None
    assert page.stop.requested_by == "ann"
    assert "STOP" in person.get("/items/D-1").text


def test_a_form_that_cannot_be_done_answers_with_a_page(person: FlaskClient, store: Store) -> None:
    start_task(store)
    answer = person.post("/items/D-1/retry", headers=FROM_OWN_PAGE)
    assert answer.status_code == 400
    assert "not parked" in answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    assert person.post("/items/D-1/destroy", headers=FROM_OWN_PAGE).status_code == 404
    assert "there is no work item D-9" in person.get("/items/D-9").text


def test_an_ended_item_offers_nothing_to_ask_for(person: FlaskClient, store: Store) -> None:
    task = start_task(store)
    held = take(store, task)
    with store.transaction() as connection:
        stage_commits.commit_stage_cas(connection, held, stage_commits.StageCommit(Stage.ANALYSIS, 0, Stage.CANCELLED))
        tasks.acknowledge_stop(connection, task.id)
    assert "Stop D-1 for good" not in person.get("/items/D-1").text


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_a_duration_is_one_figure(seconds: float, words: str) -> None:
    assert span(seconds) == words


# --- live -------------------------------------------------------------------------------------------------


def test_a_stream_tells_which_items_changed_from_where_the_reader_was(store: Store) -> None:
    start_task(store)
    with store.transaction() as connection:
        seen = read_models.newest_event(connection)
    start_task(store, "D-2")
    first, change = itertools.islice(live.changes(store, seen), 2)
    assert first == "retry: 2000\n\n"
    assert re.fullmatch(r'id: \d+\nevent: change\ndata: \{"items": \["D-2"\]\}\n\n', change)


def test_a_stream_ends_by_itself(store: Store) -> None:
    assert list(live.changes(store, 0, longest_s=0.0)) == ["retry: 2000\n\n"]


def test_a_reader_who_comes_again_is_told_from_its_last_event(person: FlaskClient, store: Store) -> None:
    start_task(store)
    answer = person.get("/live", headers={"Last-Event-ID": "0"}, buffered=False)
    assert answer.mimetype == "text/event-stream"
    told = list(itertools.islice(answer.response, 2))
    answer.close()
    assert '"D-1"' in str(told[1])


def test_streams_leave_threads_for_others(person: FlaskClient) -> None:
    held = [person.get("/live", buffered=False) for _ in range(live.AT_ONCE)]
    assert {one.status_code for one in held} == {200}
    assert person.get("/live").status_code == 503
    for one in held:
        one.close()
    again = person.get("/live", buffered=False)
    assert again.status_code == 200
    again.close()


def test_a_stop_is_proven_on_the_page_of_its_item(person: FlaskClient, store: Store) -> None:
    task = start_task(store)
    dead = (
        "pid 4242 (claude) started at tick 99: SIGINT at 10:00:00.125Z, SIGKILL at 10:00:05.250Z, dead at 10:00:05.300Z"
    )
    with store.transaction() as connection:
        tasks.request_stop(connection, task.id, "ann")
        events.record(connection, task.id, "stop.killed", {"job": 1, "proof": [dead, "no process was ever started"]})
        events.record(connection, task.id, "stop.refused", {"what": "deploy-staging -> deploy", "why": EVIL})
        tasks.record_merge(connection, task.id, "c" * 40)
    page = person.get("/items/D-1").text
    row = re.search(r"<tr><th scope=\"row\">4242</th>(.*?)</tr>", page, re.DOTALL)
    assert row is not None
    assert re.findall(r"<td>(.*?)</td>", row[1]) == [
        "claude",
        "SIGINT at 10:00:00.125Z, SIGKILL at 10:00:05.250Z",
        "10:00:05.300Z",
    ]
    assert "merged as cccccccccccc" in page
    assert "refused: deploy-staging -&gt; deploy: &lt;script&gt;" in page
    assert "no process was ever started" in page


def run_of(store: Store, task: TaskRef, node: str = "n1", runtime: str = "claude") -> str:
    """A run that goes on, as its rows."""
    run_id = uuid.uuid4().hex
    with store.transaction() as connection:
        [job] = [one.id for one in jobs.live(connection) if one.task_id == task.id]
        owner = LinuxHost(node, lambda _owner: False).myself()
        jobs.begin(connection, job, NewRun(run_id, 0, runtime, node, "", "", owner))
    return run_id


def says(settings: Settings, run_id: str, *lines: str) -> None:
    file = settings.data_dir / "runs" / run_id / "stdout.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as log:
        log.writelines(f"{line}\n" for line in lines)


TALK = '{"type":"assistant","message":{"content":[{"type":"text","text":"I read <b>the code</b>"}]}}'


def test_the_page_of_an_item_shows_what_its_agent_says(person: FlaskClient, store: Store, settings: Settings) -> None:
    run_id = run_of(store, start_task(store))
    says(settings, run_id, *["an older line " + "x" * 300] * 400, TALK, "no event at all")
    for path in ("/items/D-1", "/items/D-1/output"):
        page = person.get(path).text
        shown = re.search(r'<pre class="output" tabindex="0">(.*?)</pre>', page, re.DOTALL)
        assert shown is not None
        assert shown[1].splitlines()[-2:] == ["I read &lt;b&gt;the code&lt;/b&gt;", "no event at all"]
        assert 100 < len(shown[1].splitlines()) <= 300
        assert 'data-from="/items/D-1/output"' in page
    raw = person.get("/items/D-1/output?raw=1")
    assert raw.mimetype == "text/plain"
    assert TALK in raw.text.splitlines()


def test_what_an_agent_says_on_another_node_is_said_to_be_there(person: FlaskClient, store: Store) -> None:
    run_of(store, start_task(store), node="n2")
    assert "on the node n2" in person.get("/items/D-1").text


def test_no_known_secret_is_shown_of_what_an_agent_says(
    person: FlaskClient, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "masked", lambda text: text.replace("forge-t0ken", "****"))
    says(settings, run_of(store, start_task(store)), "I found forge-t0ken in a file")
    for path in ("/items/D-1", "/items/D-1/output", "/items/D-1/output?raw=1"):
        page = person.get(path).text
        assert "I found **** in a file" in page
        assert "forge-t0ken" not in page


def test_what_was_noticed_of_a_run_stands_beside_it(person: FlaskClient, store: Store) -> None:
    task = start_task(store)
    run_of(store, task)
    with store.transaction() as connection:
        [job] = [one.id for one in jobs.live(connection)]
        noticed = {
            "job": job,
            "run": "r",
            "refused": ["WebSearch"],
            "unread": 3,
            "git": [".git/config: core.hookspath"],
        }
        events.record(connection, task.id, "run.noticed", noticed)
    page = person.get("/items/D-1").text
    assert "refused: WebSearch" in page
    assert "3 lines of its output could not be read" in page
    assert "it changed .git/config: core.hookspath (not obeyed)" in page
