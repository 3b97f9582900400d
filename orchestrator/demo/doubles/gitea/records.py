"""What a Gitea keeps in its database: pull requests, statuses, comments, reviews, hooks, people. Git has the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase


def now() -> str:
    """As the API writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a token. ``right`` on the repository: admin, write or read."""

    login: str
    scopes: frozenset[str] = frozenset({"write:repository", "write:issue", "read:user"})
    right: str = "write"
    key: int = 1

    @property
    def may_write(self) -> bool:
        return self.right in ("write", "admin")

    def has_scope(self, area: str, *, write: bool) -> bool:
        wanted = {f"write:{area}", "all"} if write else {f"write:{area}", f"read:{area}", "all"}
        return bool(wanted & self.scopes)


@dataclass(slots=True)
class Pull:
    """A pull request. ``looked`` counts the reads since its head or base last changed: the conflict check is late."""

    number: int
    title: str
    body: str
    head: str
    base: str
    author: Person
    last_head: str
    merge_base: str
    closed: bool = False
    merged: bool = False
    merge_sha: str | None = None
    merged_by: Person | None = None
    made_at: str = field(default_factory=now)
    changed_at: str = field(default_factory=now)
    ended_at: str | None = None
    checked: tuple[str, str] = ("", "")
    looked: int = 0

    @property
    def is_open(self) -> bool:
        return not self.closed and not self.merged


@dataclass(frozen=True, slots=True)
class Status:
    """One row of the history of a commit's statuses."""

    key: int
    sha: str
    context: str
    state: str
    description: str
    target_url: str
    by: Person
    at: str


@dataclass(slots=True)
class Comment:
    key: int
    pull: int
    body: str
    by: Person
    at: str


@dataclass(frozen=True, slots=True)
class Review:
    key: int
    pull: int
    state: str
    body: str
    commit: str
    by: Person
    at: str


@dataclass(slots=True)
class Hook:
    """``secret`` is kept and never told."""

    key: int
    url: str
    secret: str
    events: tuple[str, ...]
    active: bool
    made_at: str = field(default_factory=now)


@dataclass(slots=True)
class Rules:
    """Settings of the repository that change what a merge answers."""

    fast_forward: bool = True
    manual_merge: bool = True
    autodetect_manual_merge: bool = False
    protected: dict[str, Mapping[str, object]] = field(default_factory=dict)
    late_checks: int = 0
    """Reads of a pull request that the conflict check needs; until then a merge is asked to come back."""

    def rule_for(self, branch: str) -> Mapping[str, object] | None:
        """The protection of that branch: names are patterns, and an exact one comes first."""
        patterns = (rule for name, rule in self.protected.items() if fnmatchcase(branch, name))
        return self.protected.get(branch) or next(patterns, None)

    def may_push(self, branch: str, login: str) -> bool:
        """Whether its protection lets this writer push to it; nothing of it is asked of others."""
        rule = self.rule_for(branch)
        return rule is None or (bool(rule.get("enable_push")) and _is_named(rule, "push", login))

    def may_merge(self, branch: str, login: str) -> bool:
        rule = self.rule_for(branch)
        return rule is None or _is_named(rule, "merge", login)


def _is_named(rule: Mapping[str, object], what: str, login: str) -> bool:
    names = rule.get(f"{what}_whitelist_usernames")
    return not rule.get(f"enable_{what}_whitelist") or (isinstance(names, list) and login in names)
