"""A Gitea that is none: API, git over HTTP and signed webhooks of one repository, with the traps of the real one."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestrator.demo.doubles import smart_http
from orchestrator.demo.doubles.git_repository import GitRepository
from orchestrator.demo.doubles.gitea.forge import ForgeState
from orchestrator.demo.doubles.gitea.merging import said
from orchestrator.demo.doubles.gitea.records import Person
from orchestrator.demo.doubles.gitea.routes import ROUTES, Call
from orchestrator.demo.doubles.http_server import Reply, Request, Server
from orchestrator.demo.doubles.protected_pushes import ProtectedPushes

__all__ = ["GiteaDouble", "Person"]

_API: Final = "/api/v1"
_GIT: Final = re.compile(r"^/([^/]+)/([^/]+?)(\.git)?(/info/refs|/git-upload-pack|/git-receive-pack)$")
_GIT_ANSWERS: Final = {"WWW-Authenticate": 'Basic realm="Gitea"', "Content-Type": "text/plain"}
_SOMEBODY: Final = Person("somebody", key=2)
"""Who pushed, where git was used behind the server's back."""


class GiteaDouble:
    """Serves the bare repository at ``repository`` as ``owner/name`` from ``start`` to ``stop``.

    ``environment`` gives PATH to git. ``let_in`` makes the tokens; ``traps`` orders failures.
    """

    def __init__(
        self,
        repository: Path,
        environment: Mapping[str, str],
        *,
        owner: str = "demo",
        name: str = "shop",
        port: int = 0,
    ) -> None:
        self.server = Server(self._answer, port)
        self.url = self.server.url
        self.traps = self.server.traps
        self.git = GitRepository(repository, environment)
        self.forge = ForgeState(self.url, owner, name, self.git)
        self.clone_url = f"{self.url}/{owner}/{name}.git"
        self._full_name = f"{owner}/{name}"
        self._pushes = ProtectedPushes()

    def let_in(self, token: str, person: Person) -> None:
        """``token`` is ``person``'s from now on."""
        self.forge.people[token] = person

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        """End server and deliveries; what is queued is tried first."""
        self.server.stop()
        self.forge.deliveries.stop()
        self._pushes.stop()

    # --- requests --------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Reply:
        if request.raw_path.startswith(f"{_API}/"):
            return self._api(request)
        found = _GIT.match(request.path)
        if found is None or f"{found[1]}/{found[2]}" != self._full_name:
            return Reply(404, b"Not found.", {"Content-Type": "text/plain"})
        return self._serve_git(request, found[4])

    def _api(self, request: Request) -> Reply:
        path = request.raw_path.removeprefix(_API)
        same = [one for one in ROUTES if one[0] == request.method]
        matches = ((pattern.fullmatch(path), area, handler) for _, pattern, area, handler in same)
        found, area, handler = next((one for one in matches if one[0]), (None, "", None))
        if found is None or handler is None:
            return said(404, "")
        person = self._person(request.headers.get("Authorization", ""))
        refusal = self._refusal(request, person, area)
        if refusal is not None or person is None:
            return refusal or said(401, "token is required")
        words = tuple(Request("", one, "", {}, b"").path for one in found.groups())
        with self.forge.lock:
            self.forge.notice(_SOMEBODY)
            return handler(Call(self.forge, person, request, words))

    def _refusal(self, request: Request, person: Person | None, area: str) -> Reply | None:
        if person is None:
            return said(401, "invalid username, password or token")
        write = request.method != "GET"
        if area and not person.has_scope(area, write=write):
            word = f"{'write' if write else 'read'}:{area}"
            return said(403, f"token does not have at least one of required scope(s), required=[{word}]")
        if "/repos/" in request.raw_path and f"/repos/{self._full_name}" not in request.path:
            return said(404, "The target couldn't be found.")
        return None

    def _person(self, header: str) -> Person | None:
        kind, _, text = header.partition(" ")
        if kind in ("token", "Bearer"):
            return self.forge.people.get(text)
        if kind == "Basic":
            _, _, password = base64.b64decode(text).decode().partition(":")
            return self.forge.people.get(password)
        return None

    def _serve_git(self, request: Request, path: str) -> Reply:
        person = self._person(request.headers.get("Authorization", ""))
        if person is None:
            return Reply(401, b"Unauthorized", _GIT_ANSWERS)
        write = smart_http.is_write(path, request.query_text)
        if not person.has_scope("repository", write=write) or (write and not person.may_write):
            return Reply(403, b"Forbidden", _GIT_ANSWERS)
        asked = smart_http.GitRequest(
            request.method, path, request.query_text, request.headers, request.body, person.login if write else ""
        )
        with self.forge.lock:
            rules = self.forge.rules
            refused = [name for name in rules.protected if write and not rules.may_push(name, person.login)]
            environment = {**self.git.environment, **self._pushes.environment(refused)}
            status, headers, body = smart_http.serve(self.git.path, asked, environment)
            if write and request.method == "POST":
                self.forge.notice(person)
        return Reply(status, body, headers)
