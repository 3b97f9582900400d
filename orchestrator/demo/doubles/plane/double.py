"""The stand-in as one thing: start it, let people act on it, look at what is there, order failures."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from orchestrator.demo.doubles.http_server import Exchange, Server
from orchestrator.demo.doubles.plane.api import LIMITED, Api
from orchestrator.demo.doubles.plane.hooks import Worker
from orchestrator.demo.doubles.plane.records import Item, Label, Project, State, User, Webhook, Workspace
from orchestrator.demo.doubles.plane.writes import Writes
from orchestrator.demo.doubles.traps import Trap, Traps, Trouble

API_KEY: Final = "plane_api_" + "0" * 32
WEBHOOK_SECRET: Final = "plane_wh_" + "0" * 32  # a value for a stand-in, known to everybody
ORCHESTRATOR: Final = "orchestrator"
OUR_STATES: Final = (("To Analyse", "unstarted"), ("Needs Human", "started"), ("STOP", "started"))
"""What a project needs beside the states that Plane gives it."""


class PlaneDouble:
    """One workspace with one project, served on loopback. People act on it by methods, programs by HTTP."""

    def __init__(
        self,
        identifier: str = "ORCH",
        slug: str = "acme",
        *,
        port: int = 0,
        per_minute: int = 100_000,
        people: Sequence[str] = ("ann",),
        seed: int = 1,
    ) -> None:
        self.space = Workspace(slug)
        for name in (ORCHESTRATOR, *people):
            user = User(name)
            self.space.users[user.id] = user
        self.user(ORCHESTRATOR).keys.add(API_KEY)
        self.project = self.add_project(identifier)
        self.worker = Worker(self.space, seed=seed)
        self.writes = Writes(self.space, self.worker)
        self.api = Api(self.space, self.writes, per_minute=per_minute)
        self._server = Server(self.api.answer, port)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._server.start()
        self.worker.start()

    def stop(self) -> None:
        self.worker.stop()
        self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def traps(self) -> Traps:
        return self._server.traps

    @property
    def exchanges(self) -> Sequence[Exchange]:
        """Every request that was answered, oldest first."""
        return list(self._server.exchanges)

    # --- failures by request count -----------------------------------------------------------------------

    def limit(self, method: str, path: str, *, retry_after_s: int = 1, skip: int = 0, times: int = 1) -> Trap:
        """Answer 429 to the requests that match."""
        headers = {"Retry-After": str(retry_after_s)}
        return self._trap(Trap(method, path, Trouble.SAY_BEFORE, skip, times, 429, LIMITED, headers))

    def fail(self, method: str, path: str, *, done: bool, status: int = 500, skip: int = 0, times: int = 1) -> Trap:
        """Answer an error to the requests that match; ``done``: although what they ask for was done."""
        trouble = Trouble.SAY_AFTER if done else Trouble.SAY_BEFORE
        body = {"error": "Something went wrong please try again later"}
        return self._trap(Trap(method, path, trouble, skip, times, status, body))

    def drop(self, method: str, path: str, *, done: bool, skip: int = 0, times: int = 1) -> Trap:
        """Close the connection without an answer."""
        trouble = Trouble.DROP_AFTER if done else Trouble.DROP_BEFORE
        return self._trap(Trap(method, path, trouble, skip, times))

    def hold(self, method: str, path: str, *, done: bool, skip: int = 0) -> Trap:
        """Let the request hang until the trap is released: a time-out for whoever asked."""
        return self._trap(Trap(method, path, Trouble.HOLD_AFTER if done else Trouble.HOLD_BEFORE, skip))

    def _trap(self, trap: Trap) -> Trap:
        self.traps.set(trap)
        return trap

    # --- what people do ----------------------------------------------------------------------------------

    def user(self, name: str) -> User:
        return next(one for one in self.space.users.values() if one.name == name)

    def add_project(self, identifier: str) -> Project:
        made = self.space.add_project(identifier, self.user(ORCHESTRATOR))
        for name, group in OUR_STATES:
            self.space.add_state(made, name, "#F59E0B", group)
        return made

    def add_webhook(self, url: str, secret: str = WEBHOOK_SECRET) -> Webhook:
        """As a workspace admin does it in the settings."""
        made = Webhook(url, secret)
        self.space.webhooks.append(made)
        return made

    def add_label(self, name: str) -> Label:
        made = Label(name, "#1D4ED8", self.space.now())
        self.project.labels[made.id] = made
        return made

    def add_item(
        self,
        title: str,
        description_html: str = "<p></p>",
        *,
        priority: str = "none",
        state: str = "To Analyse",
        labels: Sequence[str] = (),
        blocked_by: Sequence[str] = (),
        by: str = "ann",
    ) -> str:
        """A person adds an item; its key."""
        values: Mapping[str, object] = {
            "name": title,
            "description_html": description_html,
            "priority": priority,
            "state": self.state(state).id,
            "labels": [one.id for one in self.project.labels.values() if one.name in labels],
        }
        made = self.writes.add_item(self.project, self.user(by), values)
        if blocked_by:
            self.writes.block(made, [self.item(one).id for one in blocked_by])
        return f"{self.project.identifier}-{made.number}"

    def move(self, key: str, state: str, *, by: str = "ann") -> None:
        """A person drags the card."""
        self.change(key, by=by, state=self.state(state).id)

    def change(self, key: str, *, by: str = "ann", **values: object) -> None:
        """A person edits the item in the web interface."""
        self.writes.change_item(self.project, self.item(key), self.user(by), values, ui=True)

    def comment(self, key: str, comment_html: str, *, by: str = "ann") -> None:
        self.writes.keep_comment(self.project, self.item(key), self.user(by), {"comment_html": comment_html})

    def delete(self, key: str) -> None:
        """A person deletes the item: no delivery tells of it."""
        with self.space.lock:
            del self.project.items[self.item(key).id]

    def archive(self, key: str) -> None:
        self.item(key).archived_at = self.space.now()

    # --- what is there -----------------------------------------------------------------------------------

    def item(self, key: str) -> Item:
        number = int(key.rpartition("-")[2])
        with self.space.lock:
            return next(one for one in self.project.items.values() if one.number == number)

    def state(self, name: str) -> State:
        return next(one for one in self.project.states.values() if one.name == name)

    def state_of(self, key: str) -> str:
        """Name of the state in which the item is."""
        return self.project.states[self.item(key).state].name

    def external_ids(self, key: str) -> list[str]:
        """What the comments of the item carry, oldest first."""
        return [one.external_id or "" for one in self.item(key).comments]

    def comments(self, key: str) -> list[str]:
        """The comments as a person reads them, oldest first: what is markup is not seen."""
        return [_as_read(one.html) for one in self.item(key).comments]


def _as_read(markup: str) -> str:
    text = re.sub(r"<br\s*/?>", "\n", markup)
    return html.unescape(re.sub(r"<[^>]*>", "", text))
