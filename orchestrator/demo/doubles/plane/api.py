"""The REST API v1 of the stand-in: routes, checks and answers in the order in which Plane makes them."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.demo.doubles.http_server import Reply, Request
from orchestrator.demo.doubles.plane import shapes
from orchestrator.demo.doubles.plane.records import GROUPS, PRIORITIES, RELATIONS, Item, Label, Project, User, Workspace
from orchestrator.demo.doubles.plane.writes import Writes

_WINDOW_S: Final = 60.0
_LONGEST_NAME: Final = 255
_NOT_FOUND: Final = Reply(404, {"error": "The requested resource does not exist."})
_NO_PAGE: Final = Reply(404, {"error": "Page not found."})
_FORBIDDEN: Final = Reply(403, {"detail": "You do not have permission to perform this action."})
_NOT_VALID: Final = Reply(400, {"error": "The payload is not valid"})
_FAILED: Final = Reply(500, {"error": "Something went wrong please try again later"})
LIMITED: Final = {"error_code": 5900, "error_message": "RATE_LIMIT_EXCEEDED"}
_ORDERS: Final = ("updated_at", "created_at", "sequence_id")


@dataclass(frozen=True)
class Call:
    """One allowed request. ``named``: the parts of its path."""

    request: Request
    user: User
    named: Mapping[str, str]

    @property
    def body(self) -> Mapping[str, Any]:
        found = self.request.json
        return found if isinstance(found, dict) else {}

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(filter(None, self.request.query.get(name, "").split(",")))


Handler = Callable[[Call], Reply]


class Api:
    """Answers requests. ``per_minute``: requests a key may make in a sliding window of 60 s."""

    def __init__(self, space: Workspace, writes: Writes, *, per_minute: int = 60) -> None:
        self.per_minute = per_minute
        self._space, self._writes = space, writes
        self._used: defaultdict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._routes = self._table()

    def answer(self, request: Request) -> Reply:
        if not request.raw_path.endswith("/"):
            return Reply(301, None, {"Location": f"{request.raw_path}/"})
        named, methods = self._route(request.path)
        if not methods:
            return _NO_PAGE
        key = next((text for name, text in request.headers.items() if name.lower() == "x-api-key"), "")
        if not key:
            return Reply(401, {"detail": "Authentication credentials were not provided."})
        user = self._space.user_of(key)
        if user is None:
            return Reply(403, {"detail": "Given API token is not valid"})
        if not self._may(named):
            return _FORBIDDEN
        left = self._take(key)
        if left is None:
            return Reply(429, LIMITED, {"Retry-After": str(self._retry_after(key))})
        reply = self._handled(methods, Call(request, user, named))
        rate = {"X-RateLimit-Remaining": str(left), "X-RateLimit-Reset": str(int(time.time()) + 60)}
        return Reply(reply.status, reply.body, {**reply.headers, **rate})

    def _handled(self, methods: Mapping[str, Handler], call: Call) -> Reply:
        handler = methods.get(call.request.method)
        if handler is None:
            return Reply(405, {"detail": f'Method "{call.request.method}" not allowed.'})
        return handler(call)

    def _route(self, path: str) -> tuple[Mapping[str, str], Mapping[str, Handler]]:
        for pattern, methods in self._routes:
            found = re.fullmatch(pattern, path)
            if found:
                return found.groupdict(), methods
        return {}, {}

    def _may(self, named: Mapping[str, str]) -> bool:
        if named.get("slug", self._space.slug) != self._space.slug:
            return False
        if "project" in named:
            return named["project"] in self._space.projects
        return "identifier" not in named or self._space.project_called(named["identifier"]) is not None

    def _take(self, key: str) -> int | None:
        """Requests that are left, or None when the window is full."""
        with self._lock:
            used, now = self._used[key], time.monotonic()
            while used and used[0] <= now - _WINDOW_S:
                used.popleft()
            if len(used) >= self.per_minute:
                return None
            used.append(now)
            return self.per_minute - len(used)

    def _retry_after(self, key: str) -> int:
        with self._lock:
            return max(1, int(self._used[key][0] + _WINDOW_S - time.monotonic()) + 1)

    def _table(self) -> Sequence[tuple[str, Mapping[str, Handler]]]:
        here = "/api/v1/workspaces/(?P<slug>[^/]+)/"
        project = here + "projects/(?P<project>[0-9a-f-]{36})/"
        items = project + "(?:work-items|issues)/"
        item = items + "(?P<item>[0-9a-f-]{36})/"
        new_item = project + "work-items/(?P<item>[0-9a-f-]{36})/"
        return (
            ("/api/v1/users/me/", {"GET": self._me}),
            (here + "members/", {"GET": self._members}),
            (here + "projects/", {"GET": self._projects}),
            (here + "(?:work-items|issues)/(?P<identifier>[A-Za-z0-9_]+)-(?P<number>[0-9]+)/", {"GET": self._by_key}),
            (project, {"GET": self._project}),
            (project + "members/", {"GET": self._project_members}),
            (project + "states/", {"GET": self._states, "POST": self._add_state}),
            (project + "states/(?P<state>[0-9a-f-]{36})/", {"GET": self._state}),
            (project + "labels/", {"GET": self._labels, "POST": self._add_label}),
            (items, {"GET": self._items, "POST": self._add_item}),
            (item, {"GET": self._item, "PATCH": self._change_item, "DELETE": self._delete_item}),
            (item + "activities/", {"GET": self._activities}),
            (item + "comments/", {"GET": self._comments, "POST": self._add_comment}),
            (
                item + "comments/(?P<comment>[0-9a-f-]{36})/",
                {"GET": self._comment, "PATCH": self._change_comment, "DELETE": self._delete_comment},
            ),
            (new_item + "relations/", {"GET": self._relations, "POST": self._relate}),
        )

    # --- the workspace -----------------------------------------------------------------------------------

    def _me(self, call: Call) -> Reply:
        return Reply(200, shapes.user(call.user))

    def _members(self, call: Call) -> Reply:
        return Reply(200, [{**shapes.user(one), "role": one.role} for one in self._space.users.values()])

    def _projects(self, call: Call) -> Reply:
        return self._page(call, [shapes.project(self._space, one) for one in self._space.projects.values()])

    def _project(self, call: Call) -> Reply:
        return Reply(200, shapes.project(self._space, self._home(call)))

    def _project_members(self, call: Call) -> Reply:
        return Reply(200, [shapes.user(self._space.users[one]) for one in self._home(call).members])

    def _states(self, call: Call) -> Reply:
        home = self._home(call)
        return self._page(call, [shapes.state(self._space, home, one) for one in home.states.values()])

    def _state(self, call: Call) -> Reply:
        home = self._home(call)
        found = home.states.get(call.named["state"])
        return _NOT_FOUND if found is None else Reply(200, shapes.state(self._space, home, found))

    def _add_state(self, call: Call) -> Reply:
        home, name, group = self._home(call), call.body.get("name"), call.body.get("group", "backlog")
        if group not in GROUPS:
            return Reply(400, {"group": [f'"{group}" is not a valid choice.']})
        same = next((one for one in home.states.values() if one.name == name), None)
        if same is not None:
            return Reply(409, {"error": "State with the same name already exists in the project", "id": same.id})
        made = self._space.add_state(home, str(name), str(call.body.get("color", "")), str(group))
        made.slug = str(name).lower().replace(" ", "-")
        made.external_source, made.external_id = call.body.get("external_source"), call.body.get("external_id")
        return Reply(200, shapes.state(self._space, home, made))

    def _labels(self, call: Call) -> Reply:
        home = self._home(call)
        return self._page(call, [shapes.label(self._space, home, one) for one in home.labels.values()])

    def _add_label(self, call: Call) -> Reply:
        home, name = self._home(call), str(call.body.get("name", ""))
        same = next((one for one in home.labels.values() if one.name == name), None)
        if same is not None:
            return Reply(409, {"error": "Label with the same name already exists in the project", "id": same.id})
        made = Label(name, str(call.body.get("color", "")), self._space.now())
        home.labels[made.id] = made
        return Reply(201, shapes.label(self._space, home, made))

    # --- work items --------------------------------------------------------------------------------------

    def _items(self, call: Call) -> Reply:
        home, query = self._home(call), call.request.query
        if "external_id" in query and "external_source" in query:
            return self._by_external_id(call, home)
        order = query.get("order_by", "-created_at")
        if order.lstrip("-") not in _ORDERS:
            return _FAILED
        with self._space.lock:
            live = [one for one in home.items.values() if one.archived_at is None]
            by = {"sequence_id": "number"}.get(order.lstrip("-"), order.lstrip("-"))
            live.sort(key=lambda one: getattr(one, by), reverse=order.startswith("-"))
            rows = [self._shown(call, home, one) for one in live]
        return self._page(call, rows)

    def _by_external_id(self, call: Call, home: Project) -> Reply:
        """One object, not a page."""
        wanted = (call.request.query["external_source"], call.request.query["external_id"])
        found = [one for one in home.items.values() if (one.external_source, one.external_id) == wanted]
        return Reply(200, self._shown(call, home, found[0])) if found else _NOT_FOUND

    def _by_key(self, call: Call) -> Reply:
        home = self._space.project_called(call.named["identifier"])
        number = int(call.named["number"])
        found = [one for one in home.items.values() if one.number == number] if home else []
        if home is None or not found or found[0].archived_at is not None:
            return _NOT_FOUND
        return Reply(200, self._shown(call, home, found[0]))

    def _item(self, call: Call) -> Reply:
        home, on = self._home(call), self._on(call)
        if on is None or on.archived_at is not None:
            return _NOT_FOUND
        return Reply(200, self._shown(call, home, on))

    def _add_item(self, call: Call) -> Reply:
        home, body = self._home(call), call.body
        if "name" not in body:
            return Reply(400, {"name": ["This field is required."]})
        wrong = self._wrong(home, body)
        if wrong is not None:
            return wrong
        taken = self._writes.taken(list(home.items.values()), body)
        if taken is not None:
            said = "Issue with the same external id and external source already exists"
            return Reply(409, {"error": said, "id": taken})
        made = self._writes.add_item(home, call.user, body)
        return Reply(201, shapes.item(self._space, home, made))

    def _change_item(self, call: Call) -> Reply:
        """Unknown keys are ignored, ``state_id`` too; an archived item is changed all the same."""
        home, on = self._home(call), self._on(call)
        if on is None:
            return _NOT_FOUND
        wrong = self._wrong(home, call.body)
        if wrong is not None:
            return wrong
        self._writes.change_item(home, on, call.user, call.body)
        return Reply(200, shapes.item(self._space, home, on))

    def _wrong(self, home: Project, body: Mapping[str, Any]) -> Reply | None:
        if len(str(body.get("name", ""))) > _LONGEST_NAME:
            return Reply(400, {"name": ["Ensure this field has no more than 255 characters."]})
        priority = body.get("priority", "none")
        if priority not in PRIORITIES:
            return Reply(400, {"priority": [f'"{priority}" is not a valid choice.']})
        if body.get("description_html") == "":
            return Reply(400, {"non_field_errors": ["Invalid HTML passed"]})
        return self._wrong_state(home, body["state"]) if "state" in body else None

    def _wrong_state(self, home: Project, state: object) -> Reply | None:
        try:
            uuid.UUID(str(state))
        except ValueError:
            return Reply(400, {"state": [f"\u201c{state}\u201d is not a valid UUID."]})
        if state in home.states:
            return None
        if any(state in one.states for one in self._space.projects.values()):
            return Reply(400, {"non_field_errors": ["State is not valid please pass a valid state_id"]})
        return Reply(400, {"state": [f'Invalid pk "{state}" - object does not exist.']})

    def _delete_item(self, call: Call) -> Reply:
        """Nobody is told of a deleted item."""
        on = self._on(call)
        if on is None:
            return _NOT_FOUND
        del self._home(call).items[on.id]
        return Reply(204)

    def _activities(self, call: Call) -> Reply:
        home, on = self._home(call), self._on(call)
        if on is None:
            return self._page(call, [])
        return self._page(call, [shapes.activity(self._space, home, on, one) for one in on.history])

    # --- comments and relations --------------------------------------------------------------------------

    def _comments(self, call: Call) -> Reply:
        """Newest first, whatever order is asked for."""
        home, on = self._home(call), self._on(call)
        with self._space.lock:
            found = [] if on is None else sorted(on.comments, key=lambda one: one.created_at, reverse=True)
            rows = [{**shapes.comment(self._space, home, on, one), "is_member": True} for one in found] if on else []
        return self._page(call, rows)

    def _comment(self, call: Call) -> Reply:
        home, on = self._home(call), self._on(call)
        found = [one for one in on.comments if one.id == call.named["comment"]] if on else []
        return Reply(200, shapes.comment(self._space, home, on, found[0])) if on and found else _NOT_FOUND

    def _add_comment(self, call: Call) -> Reply:
        home, on = self._home(call), self._on(call)
        if on is None:
            return _NOT_VALID
        everywhere = [one for each in home.items.values() for one in each.comments]
        taken = self._writes.taken(everywhere, call.body)
        if taken is not None:
            said = "Work item comment with the same external id and external source already exists"
            return Reply(409, {"error": said, "id": taken})
        made = self._writes.keep_comment(home, on, call.user, call.body)
        return Reply(201, shapes.comment(self._space, home, on, made))

    def _change_comment(self, call: Call) -> Reply:
        home, on = self._home(call), self._on(call)
        found = [one for one in on.comments if one.id == call.named["comment"]] if on else []
        if on is None or not found:
            return _NOT_FOUND
        self._writes.change_comment(home, on, found[0], call.user, str(call.body.get("comment_html", found[0].html)))
        return Reply(200, shapes.comment(self._space, home, on, found[0]))

    def _delete_comment(self, call: Call) -> Reply:
        on = self._on(call)
        with self._space.lock:
            found = [one for one in on.comments if one.id == call.named["comment"]] if on else []
            if on is None or not found:
                return _NOT_FOUND
            on.comments.remove(found[0])
        return Reply(204)

    def _relations(self, call: Call) -> Reply:
        on = self._on(call)
        if on is None:
            return Reply(200, {kind: [] for kind in RELATIONS})
        with self._space.lock:
            return Reply(200, shapes.relations(self._space, on))

    def _relate(self, call: Call) -> Reply:
        on, kind = self._on(call), call.body.get("relation_type")
        if kind not in RELATIONS:
            return Reply(400, {"relation_type": [f'"{kind}" is not a valid choice.']})
        others = [str(one) for one in call.body.get("issues") or ()]
        homes = {one: self._space.home_of(one) for one in others}
        if on is None or None in homes.values():
            return _NOT_VALID
        if kind == "blocked_by":
            self._writes.block(on, others)
        rows = [self._related(home.items[one], home, str(kind)) for one, home in homes.items() if home]
        if kind == "blocking":
            for one, home in homes.items():
                assert home is not None
                self._writes.block(home.items[one], [on.id])
        return Reply(201, rows)

    def _related(self, one: Item, home: Project, kind: str) -> dict[str, object]:
        whole = shapes.item(self._space, home, one)
        names = ("id", "sequence_id", "name", "priority", "created_by", "created_at", "updated_by", "updated_at")
        stored = "blocked_by" if kind == "blocking" else kind
        kept = {name: whole[name] for name in names}
        return {**kept, "project_id": home.id, "state_id": one.state, "relation_type": stored}

    # --- parts -------------------------------------------------------------------------------------------

    def _home(self, call: Call) -> Project:
        return self._space.projects[call.named["project"]]

    def _on(self, call: Call) -> Item | None:
        return self._home(call).items.get(call.named["item"])

    def _shown(self, call: Call, home: Project, one: Item) -> dict[str, object]:
        with self._space.lock:
            whole = shapes.item(self._space, home, one, call.words("expand"))
        fields = call.words("fields")
        return {name: value for name, value in whole.items() if name in fields} if fields else whole

    def _page(self, call: Call, rows: Sequence[object]) -> Reply:
        query = call.request.query
        try:
            per_page = int(query.get("per_page", "1000"))
            size, number, _ = (int(one) for one in query.get("cursor", f"{per_page}:0:0").split(":"))
        except ValueError:
            return Reply(400, {"detail": "Invalid cursor parameter."})
        if not 1 <= per_page <= 1000:
            return Reply(400, {"detail": "Invalid per_page value. Cannot exceed 1000."})
        return Reply(200, shapes.page(rows, size, number))
