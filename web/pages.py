"""Pages for people: usable without JavaScript, live with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound

from orchestrator.domain.stages import Stage
from orchestrator.metrics import build_version
from orchestrator.store import read_models, ticks
from orchestrator.store.read_models import ItemState
from web import acts, auth
from web.output import newest
from web.parts import parts, reading

routes: Final = Blueprint("pages", __name__)
PIPELINE: Final = tuple(stage for stage in Stage if stage is not Stage.CANCELLED)
_EVENTS: Final = 200


@routes.get("/")
def board() -> str:
    """All items."""
    with reading() as connection:
        rows = read_models.board(connection)
        found = read_models.queue(connection)
    states = Counter(row.state for row in rows)
    return render_template(
        "board.html", rows=rows, states=[(state, states[state]) for state in ItemState], levers=_levers(found)
    )


def _levers(found: dict[str, object]) -> object:
    switches = found["switches"]
    assert isinstance(switches, dict)
    return switches["levers"]


@routes.get("/items/<work_item>")
def item(work_item: str) -> str:
    """One item: why it stands where it stands, and what may be asked for it."""
    page = acts.page_of(work_item)
    with reading() as connection:
        events = read_models.item_events(connection, work_item, limit=100_000)[-_EVENTS:]
    return render_template(
        "item.html",
        page=page,
        row=page.row,
        events=list(reversed(events)),
        pipeline=PIPELINE,
        noticed=[one.detail for one in events if one.kind == "run.noticed"],
        output=newest(page.row.task_id),
    )


@routes.get("/items/<work_item>/output")
def output(work_item: str) -> Response:
    """What its agent says, alone: a part for the item's page, or with ``raw`` the lines as the CLI wrote them."""
    page = acts.page_of(work_item)
    if "raw" in request.args:
        told = newest(page.row.task_id, raw=True)
        return Response("".join(f"{line}\n" for line in told.lines), mimetype="text/plain")
    return make_response(render_template("output.html", row=page.row, output=newest(page.row.task_id)))


@routes.post("/items/<work_item>/<act>")
def ask(work_item: str, act: str) -> Response:
    """Do what a form on the item's page asks for, and show the page again."""
    if act not in acts.ACTS:
        raise NotFound
    acts.perform(act, work_item, auth.caller().name, request.form.get("why", "").replace("\0", ""))
    return _to(url_for("pages.item", work_item=work_item))


@routes.get("/lane")
def lane() -> str:
    """Merge lanes and deploys."""
    with reading() as connection:
        found = read_models.queue(connection)
        rows = read_models.board(connection, ended=0)
    waiting = [row for row in rows if row.stage in (Stage.DEPLOY_STAGING, Stage.DEPLOY)]
    return render_template("lane.html", queue=found, waiting=waiting, levers=_levers(found))


@routes.get("/fleet")
def fleet() -> str:
    """Nodes, sweeps, leases, runs, inbox, levers."""
    with reading() as connection:
        found = read_models.queue(connection, asdict(parts().settings.switches))
        sweeps = ticks.ages(connection)
    return render_template(
        "fleet.html", queue=found, sweeps=sweeps, levers=_levers(found), version=build_version(), node=_node()
    )


def _node() -> str:
    return parts().settings.node


# --- login -----------------------------------------------------------------------------------------------


@routes.get("/login")
def login() -> Response:
    if parts().settings.api_token is None:
        return _to("/")
    return make_response(render_template("login.html", wrong=False, there=_own_path(request.args.get("next", ""))))


@routes.post("/login")
def log_in() -> Response:
    """Exchange the token for a cookie."""
    auth.require_own_page(request, strict=False)
    token = parts().settings.api_token
    there = _own_path(request.form.get("next", ""))
    if token is None:
        return _to("/")
    if not auth.same(request.form.get("token", ""), token):
        return make_response(render_template("login.html", wrong=True, there=there), 401)
    answer = _to(there)
    auth.log_in(answer, request.form.get("name", ""), token)
    return answer


@routes.post("/logout")
def log_out() -> Response:
    answer = _to("/login")
    auth.log_out(answer)
    return answer


def _own_path(path: str) -> str:
    """``path`` when it leads to a page of ours, else the board: a login must not lead elsewhere."""
    plain = path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"


def _to(path: str) -> Response:
    answer = redirect(path, 303)
    assert isinstance(answer, Response)
    return answer


# --- words for templates -----------------------------------------------------------------------------------


@routes.app_template_filter("age")
def age(moment: datetime) -> str:
    """How long ago, in one figure."""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    return span(seconds)


@routes.app_template_filter("span")
def span(seconds: float) -> str:
    """A duration in one figure: 40 s, 12 min, 5 h, 3 d."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


@routes.app_template_filter("short")
def short(sha: str | None) -> str:
    """A SHA as people write it."""
    return (sha or "")[:12]


@routes.app_context_processor
def given_to_all() -> dict[str, object]:
    """For the frame of every page."""
    return {"with_token": parts().settings.api_token is not None, "here": request.path}
