"""The demo's tracker, as people use it: the built-in one, or a stand-in for another system's, with real webhooks."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.demo.doubles.plane.double import API_KEY, ORCHESTRATOR, WEBHOOK_SECRET
from orchestrator.demo.doubles.traps import Trap, Trouble
from orchestrator.demo.story import AUTHOR, PROJECT, Item
from orchestrator.domain.work_items import TrackerState
from orchestrator.engine import intake, operator
from orchestrator.engine.context import Engine
from orchestrator.ports import Tracker
from orchestrator.store import local_tracker

TRACKERS: Final = ("local", "plane")


class DemoTracker(Protocol):
    """Where the story's items live. ``opened`` is called when the fleet serves at ``web_url``."""

    def environment(self) -> Mapping[str, str]:
        """Settings that the fleet needs for it."""

    def project_lines(self) -> Sequence[str]:
        """Keys and values of the project in ``orchestrator.yml``."""

    def opened(self, engine: Engine, web_url: str) -> None: ...

    def add(self, item: Item, blocked_by: Sequence[str]) -> str:
        """A person adds the item; its key."""

    def stop(self, key: str) -> str:
        """A person stops it; what people are told."""

    def look(self, keys: Sequence[str]) -> None:
        """Called many times a second, so that no state is missed where only the present one is kept."""

    def entered(self, key: str) -> Counter[str]:
        """How often the item came into each state."""

    def comments(self, key: str) -> Counter[str]:
        """How often each marker stands on the item."""

    def notes(self) -> Sequence[str]:
        """What there is to tell of it at the end."""


@contextmanager
def demo_tracker(name: str, seed: int | None) -> Iterator[DemoTracker]:
    """The tracker called ``name``, while the demo runs. With a ``seed`` it misbehaves, and tells some things twice."""
    if name == "plane":
        # Plane's own default of 60 requests a minute is for a slower story; its documentation says how to raise it.
        with PlaneDouble(PROJECT, per_minute=1200, people=(AUTHOR,)) as double:
            yield PlaneTables(double, seed)
    else:
        yield LocalTables()


class LocalTables:
    """The built-in tracker keeps only the present state, so entries are counted by looking often."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._state: dict[str, str] = {}
        self._entered: dict[str, Counter[str]] = {}

    def environment(self) -> Mapping[str, str]:
        return {}

    def project_lines(self) -> Sequence[str]:
        return ["tracker: local"]

    def opened(self, engine: Engine, web_url: str) -> None:
        self._engine = engine

    def add(self, item: Item, blocked_by: Sequence[str]) -> str:
        return intake.add_item(
            self._here,
            PROJECT,
            item.title,
            body=item.words,
            priority=item.priority,
            author=AUTHOR,
            blocked_by=blocked_by,
        )

    def stop(self, key: str) -> str:
        return operator.stop(self._here, key, by="demo")

    def look(self, keys: Sequence[str]) -> None:
        tracker: Tracker = self._here.project(PROJECT).tracker
        for key in keys:
            now = str(tracker.work_item(key).state)
            if self._state.get(key) != now:
                self._state[key] = now
                self._entered.setdefault(key, Counter())[now] += 1

    def entered(self, key: str) -> Counter[str]:
        return self._entered.get(key, Counter())

    def comments(self, key: str) -> Counter[str]:
        with self._here.store.transaction() as connection:
            return Counter(one.marker for one in local_tracker.comments(connection, key))

    def notes(self) -> Sequence[str]:
        return ()

    @property
    def _here(self) -> Engine:
        assert self._engine is not None, "the fleet is not up yet"
        return self._engine


_STATES: Final = {
    "Backlog": TrackerState.BACKLOG,
    "To Analyse": TrackerState.TO_ANALYSE,
    "In Progress": TrackerState.IN_PROGRESS,
    "Needs Human": TrackerState.NEEDS_HUMAN,
    "STOP": TrackerState.STOP,
    "Done": TrackerState.DONE,
    "Cancelled": TrackerState.CANCELLED,
}
_PRIORITIES: Final = ("none", "low", "medium", "high", "urgent")


class PlaneTables:
    """People work in the stand-in, the fleet hears of it by signed webhooks, and what is counted is its own history."""

    def __init__(self, double: PlaneDouble, seed: int | None) -> None:
        self.double = double
        if seed is not None:
            double.worker.duplicates = 0.3
            double.traps.set(*_misfortunes(seed))

    def environment(self) -> Mapping[str, str]:
        return {
            "ORCH_PLANE_URL": self.double.url,
            "ORCH_PLANE_API_KEY": API_KEY,
            "ORCH_PLANE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            # What a webhook did not tell is found within the story.
            "ORCH_POLL_INTERVAL_S": "10",
        }

    def project_lines(self) -> Sequence[str]:
        return ["tracker: plane", f"plane: {{workspace: {self.double.space.slug}}}"]

    def opened(self, engine: Engine, web_url: str) -> None:
        self.double.add_webhook(f"{web_url}/webhooks/plane")

    def add(self, item: Item, blocked_by: Sequence[str]) -> str:
        paragraphs = [one.strip() for one in item.words.split("\n\n")]
        html = "".join(f"<p>{one}</p>" for one in paragraphs)
        # By way of the backlog, as people do it: an item is put to work when it has its relations.
        key = self.double.add_item(
            item.title,
            html,
            priority=_PRIORITIES[min(item.priority, 4)],
            state="Backlog",
            blocked_by=blocked_by,
            by=AUTHOR,
        )
        self.double.move(key, "To Analyse", by=AUTHOR)
        return key

    def stop(self, key: str) -> str:
        self.double.move(key, "STOP", by=AUTHOR)
        return f"{key}: its card was moved to STOP"

    def look(self, keys: Sequence[str]) -> None:
        """Nothing: Plane keeps the history itself."""

    def entered(self, key: str) -> Counter[str]:
        names = {one.id: one.name for one in self.double.project.states.values()}
        history = self.double.item(key).history
        return Counter(str(_STATES[names[str(one.new)]]) for one in history if one.about == "state")

    def comments(self, key: str) -> Counter[str]:
        ours = self.double.user(ORCHESTRATOR).id
        found = [one for one in self.double.item(key).comments if one.actor == ours]
        return Counter((one.external_id or "").removeprefix(f"{key}/") for one in found)

    def notes(self) -> Sequence[str]:
        """What went over the wire, and which misfortunes it met."""
        attempts = [status for hook in self.double.space.webhooks for _, status in hook.log]
        sprung = [f"tracker: {method} {path}: {what}" for method, path, what in self.double.traps.sprung]
        told = (
            f"tracker: {len(self.double.exchanges)} calls answered, {len(attempts)} webhooks sent, "
            f"{attempts.count(202)} of them taken"
        )
        return [told, *sprung]


def _misfortunes(seed: int) -> list[Trap]:
    """Each kind of trouble once, at a request that the seed chooses."""
    chance = random.Random(seed)  # noqa: S311  # repeatable on purpose
    comments, items = r"/comments/$", r"/work-items/[^/]+/$"
    kinds = (
        ("POST", comments, Trouble.SAY_AFTER, 2),
        ("POST", comments, Trouble.SAY_BEFORE, 4),
        ("POST", comments, Trouble.DROP_AFTER, 6),
        ("POST", comments, Trouble.DROP_BEFORE, 8),
        ("PATCH", items, Trouble.SAY_AFTER, 2),
        ("PATCH", items, Trouble.DROP_AFTER, 3),
        ("PATCH", items, Trouble.DROP_BEFORE, 4),
        ("GET", items, Trouble.SAY_BEFORE, 20),
    )
    chosen = chance.sample(kinds, len(kinds))
    said = {"error": "Something went wrong please try again later"}
    return [Trap(method, path, what, skip=chance.randint(0, most), body=said) for method, path, what, most in chosen]
