"""What a request or a person changes, and what is told of it afterwards."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.demo.doubles.plane import shapes
from orchestrator.demo.doubles.plane.hooks import Told, Worker
from orchestrator.demo.doubles.plane.records import Activity, Comment, Item, Project, User, Webhook, Workspace

UI_NAMES: Final = {"state": "state_id", "labels": "label_ids", "assignees": "assignee_ids"}
"""The web interface calls these fields otherwise, and its deliveries say so."""
_FIELDS: Final = ("name", "description_html", "state", "priority", "labels", "assignees")


class Writes:
    """``race_s``: how long Plane needs between looking for an external id and inserting; nothing guards that time."""

    def __init__(self, space: Workspace, worker: Worker, *, race_s: float = 0.01) -> None:
        self.space, self.worker, self.race_s = space, worker, race_s
        self._random = random.Random(7)  # noqa: S311  # repeatable on purpose

    def add_item(self, home: Project, by: User, values: Mapping[str, Any]) -> Item:
        space = self.space
        with space.lock:
            home.last_number += 1
            default = next(one.id for one in home.states.values() if one.default)
            now = space.now()
            made = Item(
                number=home.last_number,
                name=str(values["name"]),
                description_html=sanitised(str(values.get("description_html") or "<p></p>")),
                state=str(values.get("state") or default),
                created_by=by.id,
                created_at=now,
                updated_at=now,
                priority=str(values.get("priority") or "none"),
                labels=[one for one in values.get("labels") or () if one in home.labels],
                assignees=[one for one in values.get("assignees") or () if one in home.members],
                external_source=values.get("external_source"),
                external_id=values.get("external_id"),
            )
            made.history.append(Activity("created", None, None, None, by.id, now))
            home.items[made.id] = made
        self.worker.tell([self._about_item("created", home, made, by, None, None, None)])
        return made

    def change_item(self, home: Project, on: Item, by: User, values: Mapping[str, Any], *, ui: bool = False) -> None:
        """Only what really changes is told, one delivery a field; ``updated_at`` moves in any case."""
        told: list[Told] = []
        with self.space.lock:
            for name in _FIELDS:
                if name not in values:
                    continue
                old = getattr(on, name)
                new = list(values[name]) if isinstance(old, list) else str(values[name])
                if new == old:
                    continue
                setattr(on, name, sanitised(new) if name == "description_html" and isinstance(new, str) else new)
                on.history.append(Activity("updated", name, str(old), str(new), by.id, self.space.now()))
                shown = UI_NAMES.get(name, name) if ui else name
                told.append(self._about_item("updated", home, on, by, shown, old, new))
            on.completed_at = self._completed(home, on)
            on.updated_by, on.updated_at = by.id, self.space.now()
        self.worker.tell(told)

    def _completed(self, home: Project, on: Item) -> Any:
        done = home.states[on.state].group == "completed"
        return (on.completed_at or self.space.now()) if done else None

    def keep_comment(self, home: Project, on: Item, by: User, values: Mapping[str, Any]) -> Comment:
        now = self.space.now()
        made = Comment(
            html=str(values.get("comment_html") or "<p></p>"),
            actor=by.id,
            created_at=now,
            updated_at=now,
            access=str(values.get("access") or "INTERNAL"),
            external_source=values.get("external_source"),
            external_id=values.get("external_id"),
        )
        with self.space.lock:
            on.comments.append(made)
        self.worker.later(self.worker.delay_s, lambda: self._touch(on))
        self.worker.tell([self._about_comment("created", home, on, made, by, None, None, None)])
        return made

    def change_comment(self, home: Project, on: Item, one: Comment, by: User, html: str) -> None:
        with self.space.lock:
            old, one.html = one.html, html
            one.updated_at, one.updated_by = self.space.now(), by.id
        if old != html:
            told = self._about_comment("updated", home, on, one, by, "comment_html", old, html)
            self.worker.tell([told])

    def taken(self, rows: Sequence[Any], values: Mapping[str, Any]) -> str | None:
        """Id of the row with this external pair. The look alone: whoever looks at the same time sees none either."""
        source, external = values.get("external_source"), values.get("external_id")
        with self.space.lock:
            found = [one for one in rows if external and (one.external_source, one.external_id) == (source, external)]
        time.sleep(self.race_s)
        return str(found[0].id) if found else None

    def block(self, on: Item, by: Sequence[str]) -> None:
        """No delivery; ``updated_at`` moves a moment later."""
        with self.space.lock:
            on.blocked_by += [one for one in by if one not in on.blocked_by]
        self.worker.later(self.worker.delay_s, lambda: self._touch(on))

    def _touch(self, on: Item) -> None:
        with self.space.lock:
            on.updated_at = self.space.now()

    def _about_item(
        self, action: str, home: Project, on: Item, by: User, name: str | None, old: object, new: object
    ) -> Told:
        def render(hook: Webhook) -> dict[str, object]:
            data = shapes.delivered_item(self.space, home, on)
            activity = shapes.activity_of(by, name, old, new)
            return shapes.delivery(self.space, hook, "issue", action, data, activity)

        return Told("issue", render)

    def _about_comment(
        self, action: str, home: Project, on: Item, one: Comment, by: User, name: str | None, old: object, new: object
    ) -> Told:
        def render(hook: Webhook) -> dict[str, object]:
            data = shapes.comment(self.space, home, on, one)
            activity = shapes.activity_of(by, name, old, new)
            return shapes.delivery(self.space, hook, "issue_comment", action, data, activity)

        return Told("issue_comment", render)


def sanitised(html: str) -> str:
    """Descriptions are cleaned (and then stand in a ``div``); comments are not."""
    clean = re.sub(r"(?is)<script.*?</script>", "", html)
    return html if clean == html else f"<div>{clean}</div>"
