"""The demo itself: make the project, start the fleet, add the items, watch them to their end, count, clean up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from sqlalchemy.exc import OperationalError

from orchestrator.adapters.celery_nudges import CeleryNudges, producer
from orchestrator.bootstrap import build_engine
from orchestrator.demo.chaos import Chaos
from orchestrator.demo.forges import DemoForge, demo_forge
from orchestrator.demo.leftovers import end_leftovers
from orchestrator.demo.outside import Outside, look
from orchestrator.demo.place import Place, demo_settings, make_place, write_operator_config
from orchestrator.demo.progress import Progress
from orchestrator.demo.project import make_project
from orchestrator.demo.result import Result, ended, judge
from orchestrator.demo.story import STOPPED, STORY, cues_due
from orchestrator.demo.trackers import DemoTracker, demo_tracker
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.stages import Stage
from orchestrator.embedded.reachable import with_stores
from orchestrator.engine.context import Engine
from orchestrator.fleet import Fleet
from orchestrator.settings import Settings
from orchestrator.store import read_models
from orchestrator.store.read_models import ItemPage, ItemRow, ItemState

PATIENCE_S: Final = 480.0
"""A story that is not at its end by then will not come to one; on a busy machine it takes some minutes."""
_LOOK_S: Final = 0.2
_STRIKE_S: Final = 0.02
_GRACE_S: Final = 5.0
"""For edges to finish when the fleet stops: at the end none should run."""
_OVER: Final = frozenset({ItemState.DONE, ItemState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Options:
    """How the demo is run. ``seed`` None: no chaos. ``tracker`` and ``forge``: where its items and its
    repository live."""

    data_dir: Path
    port: int | None = None
    seed: int | None = None
    tracker: str = "local"
    forge: str = "local"


@dataclass(slots=True)
class Show:
    """What the director works with while the story is told. ``keys``: work item by plan."""

    place: Place
    engine: Engine
    fleet: Fleet
    progress: Progress
    tracker: DemoTracker
    forge: DemoForge
    chaos: Chaos | None
    keys: dict[str, str] = field(default_factory=dict)
    stopped: bool = False


def tell_story(
    options: Options, progress: Progress, when_ready: Callable[[str], None], at_end: Callable[[Result], None]
) -> Result:
    """Run the whole demo. ``when_ready`` gets the board's address, ``at_end`` the result while the fleet still runs.

    Whatever happens, also on KeyboardInterrupt, nothing that was started runs afterwards.
    """
    place = make_place(options.data_dir, options.port)
    try:
        make_project(place)
        with (
            demo_tracker(options.tracker, options.seed) as tracker,
            demo_forge(options.forge, place, options.seed) as forge,
        ):
            lines = (*tracker.project_lines(), *forge.project_lines())
            write_operator_config(place, lines, repository=forge.repository())
            settings = demo_settings(place, {**tracker.environment(), **forge.environment()})
            with _fleet(settings, progress) as fleet, _engine(settings) as engine:
                url = f"http://{settings.host}:{settings.port}"
                tracker.opened(engine, url)
                forge.opened(url)
                when_ready(f"{url}/")
                chaos = None if options.seed is None else Chaos(engine, fleet, options.seed)
                result = _tell(Show(place, engine, fleet, progress, tracker, forge, chaos))
                at_end(result)
    finally:
        left = end_leftovers(place)
    return replace(result, left_over=tuple(left))


@contextmanager
def _fleet(settings: Settings, progress: Progress) -> Iterator[Fleet]:
    """The running fleet; stopped in order at the end, at once when anything is raised: nobody waits for edges then."""
    fleet = Fleet(settings, progress.say)
    fleet.start()
    try:
        yield fleet
    except BaseException:
        fleet.kill()
        raise
    fleet.stop(grace_s=_GRACE_S)


@contextmanager
def _engine(settings: Settings) -> Iterator[Engine]:
    """The engine for what people do: adding items, STOP. All else is done by the fleet."""
    usable = with_stores(settings)
    assert usable.broker_url is not None
    engine = build_engine(usable, CeleryNudges(producer(usable.broker_url)), pool_size=2)
    try:
        yield engine
    finally:
        engine.store.engine.dispose()


def _tell(show: Show) -> Result:
    began = time.monotonic()
    _add_items(show)
    _watch_to_the_end(show, began + PATIENCE_S)
    seconds = time.monotonic() - began
    return _count(show, seconds)


def _add_items(show: Show) -> None:
    for item in STORY:
        blockers = [show.keys[plan] for plan in item.blocked_by]
        show.keys[item.plan] = show.tracker.add(item, blockers)


def _watch_to_the_end(show: Show, deadline: float) -> None:
    next_look = 0.0
    while time.monotonic() < deadline:
        if show.chaos is not None:
            kill = show.chaos.tick()
            if kill is not None:
                show.progress.say(str(kill))
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + _LOOK_S
            if _is_over(show):
                return
        time.sleep(_LOOK_S if show.chaos is None else _STRIKE_S)


def _is_over(show: Show) -> bool:
    """One look at the story, which also plays its people. A database that is being killed or comes up again is looked
    at the next time."""
    try:
        rows = _board(show)
        _direct(show, rows)
    except OperationalError:
        return False
    return len(rows) == len(STORY) and all(row.state in _OVER for row in rows)


def _board(show: Show) -> list[ItemRow]:
    with show.engine.store.snapshot() as connection:
        rows = read_models.board(connection)
    show.tracker.look(list(show.keys.values()))
    show.fleet.relay()
    show.progress.show(rows)
    return rows


def _direct(show: Show, rows: Sequence[ItemRow]) -> None:
    """Give the cues that are due, and stop the item that is to be stopped once its agent runs."""
    by_key = {row.work_item: row for row in rows}
    stages = {plan: by_key[key].stage for plan, key in show.keys.items() if key in by_key}
    for cue in cues_due(stages):
        (show.place.cues / cue).touch()
    key = show.keys[STOPPED]
    if not show.stopped and stages.get(STOPPED) is Stage.DEVELOPMENT and _agent_works(show, key):
        show.stopped = True
        show.progress.say(show.tracker.stop(key))


def _agent_works(show: Show, key: str) -> bool:
    with show.engine.store.snapshot() as connection:
        runs = read_models.live_runs(connection)
    return any(run.work_item == key and run.stage == Stage.DEVELOPMENT and run.owner for run in runs)


def _count(show: Show, seconds: float) -> Result:
    keys = list(show.keys.values())
    with show.engine.store.snapshot() as connection:
        pages = [page for key in keys if (page := read_models.item(connection, key)) is not None]
        history = {key: read_models.item_events(connection, key, limit=5000) for key in keys}
    show.tracker.look(keys)
    kills = [] if show.chaos is None else show.chaos.kills
    result = judge(ended(show.keys, pages, history), pages, _outside(show, pages), kills, seconds)
    breaches, notes = _audit(show.engine)
    unspent = () if show.chaos is None else tuple(f"no {one.moment} came to strike at" for one in show.chaos.unspent)
    return replace(
        result,
        problems=result.problems + breaches,
        notes=(*notes, *unspent, *show.tracker.notes(), *show.forge.notes()),
    )


def _outside(show: Show, pages: Sequence[ItemPage]) -> Outside:
    named = {str(row.request["branch"]) for page in pages for row in page.effects if "branch" in row.request}
    return look(show.place, show.engine, show.tracker, list(show.keys.values()), sorted(named))


def _audit(engine: Engine) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(breaches, notes) of the same audit as `orch verify`."""
    from orchestrator.audit import audit

    try:
        found = audit(engine)
    except OrchestratorError as error:
        return (f"the audit could not be done: {error}",), ()
    breaches = tuple(f"audit: {one}" for one in (*found.breaches, *found.unread))
    return breaches, (f"audit: {found.tasks} tasks, {found.effects} effects, {len(found.breaches)} breaches",)
