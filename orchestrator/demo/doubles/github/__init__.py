"""A GitHub that is none: as much of its API and git as the adapter uses, for the contract suite.

Its own habits: heads are recorded late, a merge by push is marked late, refs move all or nothing by GraphQL.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from orchestrator.demo.doubles import smart_http
from orchestrator.demo.doubles.git_repository import GitRepository
from orchestrator.demo.doubles.http_server import Reply, Request, Server

__all__ = ["GithubDouble"]

T = TypeVar("T")
_REST: Final = "/api/v3"
_GIT: Final = re.compile(r"^/([^/]+/[^/]+?)(\.git)?(/info/refs|/git-upload-pack|/git-receive-pack)$")
_HERE: Final = r"/repos/[^/]+/[^/]+"
_N: Final = r"(\d+)"
_MOST: Final = 100
_NODE: Final = "R_node"
_NONE: Final = "0" * 40
_WHEN: Final = "2026-01-01T00:00:00Z"
LOGIN: Final = "orchestrator"
"""Whose every token is."""


def _said(status: int, message: str, *errors: str) -> Reply:
    body: dict[str, object] = {"message": message, "documentation_url": ""}
    if errors:
        body["errors"] = [{"message": one} for one in errors]
    return Reply(status, body)


_MISSING: Final = _said(404, "Not Found")


@dataclass(slots=True)
class _Pull:
    """``marks``: reads until a merge that was found in git is shown."""

    number: int
    title: str
    body: str
    head: str
    base: str
    head_sha: str
    state: str = "open"
    merged: bool = False
    merge_sha: str | None = "f" * 40
    marks: int = 0


@dataclass(slots=True)
class _Rows:
    pulls: dict[int, _Pull] = field(default_factory=dict)
    statuses: list[dict[str, object]] = field(default_factory=list)
    checks: list[dict[str, object]] = field(default_factory=list)
    comments: list[dict[str, object]] = field(default_factory=list)
    hooks: dict[int, dict[str, object]] = field(default_factory=dict)
    keys: int = 0

    def key(self) -> int:
        self.keys += 1
        return self.keys


class GithubDouble:
    """Serves the bare repository at ``repository`` as ``owner/name`` from ``start`` to ``stop``. ``marks_late``: how
    many reads a pull request stays open that a push has merged. ``tokens`` may do everything."""

    def __init__(
        self, repository: Path, environment: Mapping[str, str], *, owner: str = "demo", name: str = "shop"
    ) -> None:
        self.server = Server(self._answer)
        self.url = self.server.url
        self.traps = self.server.traps
        self.git = GitRepository(repository, environment)
        self.tokens: set[str] = set()
        self.marks_late = 0
        self.rows = _Rows()
        self._full_name = f"{owner}/{name}"
        self._lock = threading.RLock()
        self._routes = [(method, re.compile(path), handler) for method, path, handler in self._table()]

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.stop()

    def _table(self) -> Sequence[tuple[str, str, Callable[..., Reply]]]:
        return (
            ("GET", "/user", self._user),
            ("GET", _HERE, self._repository),
            ("GET", f"{_HERE}/branches/(.+)", self._branch),
            ("GET", f"{_HERE}/compare/(.+)", self._compare),
            ("GET", f"{_HERE}/pulls", self._pulls),
            ("POST", f"{_HERE}/pulls", self._open),
            ("GET", f"{_HERE}/pulls/{_N}", self._pull),
            ("PATCH", f"{_HERE}/pulls/{_N}", self._edit),
            ("GET", f"{_HERE}/commits/([^/]+)/status", self._statuses),
            ("GET", f"{_HERE}/commits/([^/]+)/check-runs", self._checks),
            ("POST", f"{_HERE}/statuses/([^/]+)", self._set_status),
            ("GET", f"{_HERE}/issues/{_N}/comments", self._comments),
            ("POST", f"{_HERE}/issues/{_N}/comments", self._comment),
            ("DELETE", f"{_HERE}/issues/comments/{_N}", self._delete_comment),
            ("GET", f"{_HERE}/hooks", self._hooks),
            ("POST", f"{_HERE}/hooks", self._add_hook),
            ("DELETE", f"{_HERE}/hooks/{_N}", self._delete_hook),
            ("POST", f"{_HERE}/hooks/{_N}/pings", self._ping_hook),
        )

    def _user(self, _request: Request) -> Reply:
        return Reply(200, {"login": LOGIN})

    # --- requests --------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Reply:
        git = _GIT.match(request.path)
        if git is not None and git[1] == self._full_name:
            return self._serve_git(request, git[3])
        if self._token(request) not in self.tokens:
            return _said(401, "Bad credentials")
        with self._lock:
            self._notice()
            if request.raw_path == "/api/graphql":
                return self._graphql(request)
            path = request.raw_path.removeprefix(_REST)
            for method, pattern, handler in self._routes:
                found = pattern.fullmatch(path) if method == request.method else None
                if found is not None:
                    return handler(request, *(Request("", one, "", {}, b"").path for one in found.groups()))
        return _MISSING

    @staticmethod
    def _token(request: Request) -> str:
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        return base64.b64decode(text).decode().partition(":")[2] if kind == "Basic" else text

    def _serve_git(self, request: Request, path: str) -> Reply:
        if self._token(request) not in self.tokens:
            return Reply(401, b"", {"WWW-Authenticate": 'Basic realm="GitHub"'})
        user = "orchestrator" if smart_http.is_write(path, request.query_text) else ""
        asked = smart_http.GitRequest(request.method, path, request.query_text, request.headers, request.body, user)
        status, headers, body = smart_http.serve(self.git.path, asked, self.git.environment)
        return Reply(status, body, headers)

    def _notice(self) -> None:
        """A push is looked through: heads follow, and what a base branch has by now is merged."""
        heads = self.git.heads()
        for pull in self.rows.pulls.values():
            if pull.state != "open":
                continue
            pull.head_sha = heads.get(pull.head, pull.head_sha)
            base = heads.get(pull.base)
            if pull.head not in heads:
                pull.state = "closed"
            elif base is not None and self.git.has(base, pull.head_sha):
                self._mark(pull)

    def _mark(self, pull: _Pull) -> None:
        if pull.marks < self.marks_late:
            pull.marks += 1
            return
        pull.state, pull.merged, pull.merge_sha = "closed", True, pull.head_sha

    # --- refs ------------------------------------------------------------------------------------------------

    def _graphql(self, request: Request) -> Reply:
        asked = request.json
        variables = asked.get("variables") if isinstance(asked, dict) else None
        updates = variables.get("updates") if isinstance(variables, dict) else None
        if not isinstance(updates, list) or not isinstance(variables, dict) or variables.get("repository") != _NODE:
            return Reply(200, {"data": None, "errors": [{"message": "the query is not understood"}]})
        refusal = self._move(updates)
        if refusal:
            return Reply(200, {"data": {"updateRefs": None}, "errors": [{"message": refusal}]})
        self._notice()
        return Reply(200, {"data": {"updateRefs": {"clientMutationId": None}}})

    def _move(self, updates: Sequence[Mapping[str, str]]) -> str:
        steps = []
        for one in updates:
            name, before, after = one["name"].removeprefix("refs/heads/"), one["beforeOid"], one["afterOid"]
            if self.git.tip(name) != before:
                return f"Reference update failed: {one['name']} is not at {before}"
            if after != _NONE and not one.get("force") and not self.git.has(after, before):
                return f"Reference update failed: {one['name']} is not a fast forward"
            steps.append((name, before, "" if after == _NONE else after))
        return "" if self.git.move(*steps) else "Reference update failed"

    # --- the repository --------------------------------------------------------------------------------------

    def _repository(self, request: Request) -> Reply:
        permissions = {"admin": True, "push": True, "pull": True}
        body = {"node_id": _NODE, "full_name": self._full_name, "default_branch": "main", "permissions": permissions}
        return Reply(200, {**body, "archived": False})

    def _branch(self, request: Request, name: str) -> Reply:
        tip = self.git.tip(name)
        return Reply(200, {"name": name, "commit": {"sha": tip}, "protected": False}) if tip else _MISSING

    def _compare(self, request: Request, ends: str) -> Reply:
        base, _, head = ends.partition("...")
        shas = [self.git.tip(one) or one for one in (base, head)]
        if not all(map(self.git.is_commit, shas)):
            return _MISSING
        ahead, behind = self.git.count(shas[0], shas[1]), self.git.count(shas[1], shas[0])
        word = "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "identical"
        return Reply(200, {"status": word, "ahead_by": ahead, "behind_by": behind, "total_commits": ahead})

    # --- pull requests ---------------------------------------------------------------------------------------

    def _pulls(self, request: Request) -> Reply:
        query = request.query
        branch, state = query.get("head", "").partition(":")[2], query.get("state", "open")
        found = [one for one in self.rows.pulls.values() if one.head == branch and state in ("all", one.state)]
        return _page(request, [self._shape(one) for one in found])

    def _open(self, request: Request) -> Reply:
        asked = request.json
        assert isinstance(asked, dict)
        head, base = asked["head"], asked["base"]
        tip = self.git.tip(head)
        if tip is None or self.git.tip(base) is None:
            return _said(422, "Validation Failed", "head is invalid")
        if any(one.state == "open" and (one.head, one.base) == (head, base) for one in self.rows.pulls.values()):
            return _said(422, "Validation Failed", f"A pull request already exists for demo:{head}.")
        number = len(self.rows.pulls) + 1
        self.rows.pulls[number] = _Pull(number, asked["title"], asked.get("body") or "", head, base, tip)
        return Reply(201, self._shape(self.rows.pulls[number]))

    def _pull(self, request: Request, number: str) -> Reply:
        found = self.rows.pulls.get(int(number))
        return _MISSING if found is None else Reply(200, {**self._shape(found), "merged": found.merged})

    def _edit(self, request: Request, number: str) -> Reply:
        found, asked = self.rows.pulls.get(int(number)), request.json
        if found is None or not isinstance(asked, dict):
            return _MISSING
        if found.merged:
            return _said(422, "Validation Failed", "state cannot be changed. The pull request is merged.")
        found.state = asked.get("state", found.state)
        return self._pull(request, number)

    def _shape(self, one: _Pull) -> dict[str, object]:
        return {
            "number": one.number,
            "state": one.state,
            "title": one.title,
            "body": one.body,
            "html_url": f"{self.url}/{self._full_name}/pull/{one.number}",
            "head": {"ref": one.head, "sha": one.head_sha, "label": f"demo:{one.head}"},
            "base": {"ref": one.base, "sha": self.git.tip(one.base), "label": f"demo:{one.base}"},
            "merged_at": _WHEN if one.merged else None,
            "merge_commit_sha": one.merge_sha,
            "mergeable": None,
        }

    # --- statuses, comments, hooks ---------------------------------------------------------------------------

    def _statuses(self, request: Request, sha: str) -> Reply:
        newest = {one["context"]: one for one in self.rows.statuses if one["sha"] == sha}
        return _page(request, list(newest.values()), key="statuses")

    def _checks(self, request: Request, sha: str) -> Reply:
        return _page(request, [one for one in self.rows.checks if one["head_sha"] == sha], key="check_runs")

    def _set_status(self, request: Request, sha: str) -> Reply:
        asked = request.json
        if not isinstance(asked, dict) or not self.git.is_commit(sha):
            return _said(422, f"No commit found for SHA: {sha}")
        made = {"id": self.rows.key(), "sha": sha, **asked}
        self.rows.statuses.append(made)
        return Reply(201, made)

    def _comments(self, request: Request, number: str) -> Reply:
        return _page(request, [one for one in self.rows.comments if one["number"] == int(number)])

    def _comment(self, request: Request, number: str) -> Reply:
        asked = request.json
        if not isinstance(asked, dict) or int(number) not in self.rows.pulls:
            return _MISSING
        made = {"id": self.rows.key(), "number": int(number), "body": asked["body"], "user": {"login": LOGIN}}
        self.rows.comments.append(made)
        return Reply(201, made)

    def _delete_comment(self, _request: Request, key: str) -> Reply:
        left = [one for one in self.rows.comments if one["id"] != int(key)]
        found = len(left) < len(self.rows.comments)
        self.rows.comments = left
        return Reply(204) if found else _MISSING

    def _hooks(self, request: Request) -> Reply:
        return _page(request, list(self.rows.hooks.values()))

    def _add_hook(self, request: Request) -> Reply:
        asked = request.json
        if not isinstance(asked, dict):
            return _said(422, "Validation Failed")
        key = self.rows.key()
        config = {**asked["config"], "secret": "********"}
        self.rows.hooks[key] = {**asked, "id": key, "config": config}
        return Reply(201, self.rows.hooks[key])

    def _delete_hook(self, request: Request, key: str) -> Reply:
        return Reply(204) if self.rows.hooks.pop(int(key), None) else _MISSING

    def _ping_hook(self, request: Request, key: str) -> Reply:
        return Reply(204) if int(key) in self.rows.hooks else _MISSING


def _page(request: Request, rows: Sequence[dict[str, object]], key: str = "") -> Reply:
    """The page that was asked for; a ``Link`` names the next one while there is one."""
    query = request.query
    size, page = min(int(query.get("per_page", "30")), _MOST), int(query.get("page", "1"))
    shown = list(rows[(page - 1) * size : page * size])
    more = len(rows) > page * size
    headers = {"Link": f'<http://elsewhere.invalid/?page={page + 1}>; rel="next"'} if more else {}
    return Reply(200, {"total_count": len(rows), "state": "pending", key: shown} if key else shown, headers)
