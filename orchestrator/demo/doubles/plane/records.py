"""What the stand-in keeps: one workspace in memory. Safe to use from several threads under ``lock``."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

GROUPS: Final = ("backlog", "unstarted", "started", "completed", "cancelled")
PRIORITIES: Final = ("urgent", "high", "medium", "low", "none")
RELATIONS: Final = (
    "blocking",
    "blocked_by",
    "duplicate",
    "relates_to",
    "start_after",
    "start_before",
    "finish_after",
    "finish_before",
)
DEFAULT_STATES: Final = (
    ("Backlog", "#60646C", "backlog"),
    ("Todo", "#60646C", "unstarted"),
    ("In Progress", "#F59E0B", "started"),
    ("Done", "#46A758", "completed"),
    ("Cancelled", "#9AA4BC", "cancelled"),
)


def new_id() -> str:
    return str(uuid.uuid4())


def written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class User:
    name: str
    id: str = field(default_factory=new_id)
    role: int = 15
    keys: set[str] = field(default_factory=set)


@dataclass
class State:
    name: str
    color: str
    group: str
    created_at: datetime
    id: str = field(default_factory=new_id)
    slug: str = ""
    sequence: float = 15000.0
    default: bool = False
    external_source: str | None = None
    external_id: str | None = None


@dataclass
class Label:
    name: str
    color: str
    created_at: datetime
    id: str = field(default_factory=new_id)


@dataclass
class Comment:
    html: str
    actor: str
    created_at: datetime
    updated_at: datetime
    id: str = field(default_factory=new_id)
    description: str = field(default_factory=new_id)
    updated_by: str | None = None
    access: str = "INTERNAL"
    external_source: str | None = None
    external_id: str | None = None


@dataclass
class Activity:
    verb: str
    about: str | None
    old: str | None
    new: str | None
    actor: str
    at: datetime
    id: str = field(default_factory=new_id)


@dataclass
class Item:
    number: int
    name: str
    description_html: str
    state: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    id: str = field(default_factory=new_id)
    priority: str = "none"
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    updated_by: str | None = None
    completed_at: datetime | None = None
    archived_at: datetime | None = None
    external_source: str | None = None
    external_id: str | None = None
    comments: list[Comment] = field(default_factory=list)
    blocked_by: list[str] = field(default_factory=list)
    history: list[Activity] = field(default_factory=list)


@dataclass
class Project:
    identifier: str
    name: str
    created_at: datetime
    created_by: str
    id: str = field(default_factory=new_id)
    states: dict[str, State] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    last_number: int = 0


@dataclass
class Webhook:
    """``log``: (delivery id, HTTP status or None) of each attempt."""

    url: str
    secret: str
    id: str = field(default_factory=new_id)
    is_active: bool = True
    log: list[tuple[str, int | None]] = field(default_factory=list)


class Workspace:
    """Everything there is. ``now`` never gives one moment twice."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.id = new_id()
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.projects: dict[str, Project] = {}
        self.webhooks: list[Webhook] = []
        self._last = datetime.now(UTC)

    def now(self) -> datetime:
        with self.lock:
            self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
            return self._last

    def user_of(self, key: str) -> User | None:
        return next((one for one in self.users.values() if key in one.keys), None)

    def project_called(self, identifier: str) -> Project | None:
        return next((one for one in self.projects.values() if one.identifier == identifier), None)

    def home_of(self, item: str) -> Project | None:
        return next((one for one in self.projects.values() if item in one.items), None)

    def add_project(self, identifier: str, by: User) -> Project:
        with self.lock:
            made = Project(identifier, f"Project {identifier}", self.now(), by.id, members=list(self.users))
            self.projects[made.id] = made
            for place, (name, color, group) in enumerate(DEFAULT_STATES):
                self.add_state(made, name, color, group).default = place == 0
            return made

    def add_state(self, project: Project, name: str, color: str, group: str) -> State:
        with self.lock:
            made = State(name, color, group, self.now(), sequence=15000.0 + 10000.0 * len(project.states))
            project.states[made.id] = made
            return made
