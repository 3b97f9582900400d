"""A thin typed client of Plane's REST API v1: one method a call, errors of our own kinds, the rate limit kept.

Every path ends with a slash: without it a GET is redirected and a write can lose its body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import httpx

from orchestrator.adapters.trackers.plane import answers
from orchestrator.adapters.trackers.plane.answers import (
    Blocker,
    CommentRow,
    ItemRow,
    Page,
    Person,
    ProjectRow,
    StateRow,
)
from orchestrator.adapters.trackers.plane.pace import Pace
from orchestrator.domain.errors import NeedsHumanError, NotFoundError, PermanentError, TransientError
from orchestrator.secret import Secret

SOURCE: Final = "orchestrator"
"""``external_source`` of everything we write."""
_PER_PAGE: Final = 100
"""The most that Plane's documentation allows; its source allows more."""
_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
"""With its broker down Plane takes 12 s to answer a write that it has done."""
_PAGES: Final = 1000
_SHOWN: Final = 300


class Taken(PermanentError):  # noqa: N818  # the answer to a second write, not a fault
    """409: something with this external id or name is there already. ``id`` is its id."""

    def __init__(self, message: str, taken_id: str) -> None:
        super().__init__(message)
        self.id = taken_id


class PlaneClient:
    """One workspace, one API key. Safe to use from several threads.

    Every method raises TransientError (no answer, 429, 5xx: nothing is known), NeedsHumanError (key, rights),
    NotFoundError or PermanentError (refused).
    """

    def __init__(
        self,
        url: str,
        api_key: Secret,
        workspace: str,
        *,
        timeout: httpx.Timeout = _TIMEOUT,
        pace: Pace | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.workspace = workspace
        self.pace = pace or Pace()
        self._key = api_key
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            timeout=timeout,
            headers={"User-Agent": SOURCE},
            # A kept connection may be dead when it is used next: that would be an unclear end of a write.
            limits=httpx.Limits(max_keepalive_connections=0),
            # A wrong scheme or host would turn a write into a read.
            follow_redirects=False,
        )

    def close(self) -> None:
        self._http.close()

    # --- reads -------------------------------------------------------------------------------------------

    def me(self) -> Person:
        """The user of the key."""
        return answers.person(self._get("users/me/"))

    def projects(self) -> Sequence[ProjectRow]:
        return [answers.project(one) for one in self._all("projects/")]

    def states(self, project: str) -> Sequence[StateRow]:
        return [answers.state(one) for one in self._all(f"projects/{project}/states/")]

    def workspace_members(self) -> Sequence[Person]:
        return answers.people(self._get(self._in_workspace("members/")))

    def project_members(self, project: str) -> Sequence[Person]:
        return answers.people(self._get(self._in_workspace(f"projects/{project}/members/")))

    def item_by_key(self, key: str) -> ItemRow:
        """The item that people call ``key``. Raises NotFoundError for an unknown number, also of an archived item."""
        return answers.item(self._get(self._in_workspace(f"work-items/{key}/"), {"expand": "labels"}))

    def item(self, project: str, item: str) -> ItemRow:
        return answers.item(self._get(self._in_workspace(f"projects/{project}/work-items/{item}/")))

    def items_page(self, project: str, cursor: str | None) -> Page:
        """Items of the project, last changed first."""
        query = {"order_by": "-updated_at", "per_page": str(_PER_PAGE), **({"cursor": cursor} if cursor else {})}
        path = self._in_workspace(f"projects/{project}/work-items/")
        return answers.page(self._get(path, query, may_wait=True))

    def blockers(self, project: str, item: str) -> Sequence[Blocker]:
        """What blocks the item. A Plane before 1.3.0 knows no relations there: then nothing does."""
        try:
            found = self._get(self._in_workspace(f"projects/{project}/work-items/{item}/relations/"))
        except NotFoundError:
            return []
        return answers.blockers(found)

    def comments(self, project: str, item: str) -> Iterator[CommentRow]:
        """Comments of the item, newest first."""
        for one in self._all(f"projects/{project}/work-items/{item}/comments/"):
            yield answers.comment(one)

    # --- writes ------------------------------------------------------------------------------------------

    def set_state(self, project: str, item: str, state: str) -> ItemRow:
        """Move the item to the state with that id."""
        path = self._in_workspace(f"projects/{project}/work-items/{item}/")
        return answers.item(self._send("PATCH", path, json={"state": state}))

    def add_comment(self, project: str, item: str, html: str, external_id: str) -> str:
        """Id of the new comment. Raises ``Taken`` with the id of the one that has this external id."""
        path = self._in_workspace(f"projects/{project}/work-items/{item}/comments/")
        body = {"comment_html": html, "external_source": SOURCE, "external_id": external_id}
        return answers.comment(self._send("POST", path, json=body)).id

    def delete_comment(self, project: str, item: str, comment: str) -> None:
        path = self._in_workspace(f"projects/{project}/work-items/{item}/comments/{comment}/")
        self._send("DELETE", path)

    # --- one request -------------------------------------------------------------------------------------

    def _in_workspace(self, path: str) -> str:
        return f"workspaces/{self.workspace}/{path}"

    def _all(self, path: str) -> Iterator[answers.Json]:
        cursor: str | None = None
        for _ in range(_PAGES):
            query = {"per_page": str(_PER_PAGE), **({"cursor": cursor} if cursor else {})}
            found = answers.page(self._get(self._in_workspace(path), query))
            yield from found.results
            cursor = found.next
            if cursor is None:
                return

    def _get(self, path: str, query: Mapping[str, str] | None = None, *, may_wait: bool = False) -> object:
        return self._send("GET", path, query=query, may_wait=may_wait)

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Mapping[str, str] | None = None,
        may_wait: bool = False,
    ) -> object:
        self.pace.ask(may_wait=may_wait)
        headers = {"X-API-Key": self._key.reveal()}
        try:
            answer = self._http.request(method, path, params=query, json=json, headers=headers)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            # Not "from error": its request holds the key.
            said = str(error) or type(error).__name__
            raise TransientError(f"{self.url} did not answer {method} {path}: {said}") from None
        return self._judged(answer, f"{method} {path}")

    def _judged(self, answer: httpx.Response, what: str) -> object:
        if answer.status_code == 429:
            raise self.pace.refused(answer.headers)
        self.pace.saw(answer.headers)
        body = _json(answer)
        if answer.status_code == 204:
            return None
        if answer.is_success:
            if body is None:
                raise NeedsHumanError(f"{self.url} answered {what} with something that is no JSON", remedy=_ADDRESS)
            return body
        raise self._refusal(answer, body, what)

    def _refusal(self, answer: httpx.Response, body: object, what: str) -> Exception:
        said = f"Plane answered {answer.status_code} to {what}: {_said(body)}"
        if answer.is_server_error:
            # 500 does not mean «not done»: the caller looks.
            return TransientError(said)
        if answer.is_redirect:
            return NeedsHumanError(f"{said}; it leads to {answer.headers.get('location', 'nowhere')}", remedy=_ADDRESS)
        match answer.status_code:
            case 401:
                return NeedsHumanError(said, remedy="check ORCH_PLANE_API_KEY")
            case 403:
                return NeedsHumanError(said, remedy=_key_mend(body))
            case 404:
                return NotFoundError(said)
            case 409:
                return Taken(said, str(body.get("id") or "") if isinstance(body, Mapping) else "")
            case _:
                return PermanentError(said)


_ADDRESS: Final = "ORCH_PLANE_URL is the exact address of Plane, with scheme, without /api and without redirects"


def _key_mend(body: object) -> str:
    if isinstance(body, Mapping) and "token" in str(body.get("detail", "")):
        return "ORCH_PLANE_API_KEY is wrong or has expired: make a new one under Plane's account settings"
    return (
        "Plane says this also for what it does not know: check `plane.workspace` and the project's key (upper and "
        "lower case count), and that the key's user is a member (15) or admin (20) of the project"
    )


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _said(body: object) -> str:
    return (str(body) if body is not None else "nothing readable")[:_SHOWN]
