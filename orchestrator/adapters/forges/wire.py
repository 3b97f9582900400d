"""HTTP to a forge: one request, one answer, no hidden retry; what a forge says becomes one of our kinds of error.

A write that was not answered says nothing about whether it landed, so nothing here repeats one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from orchestrator.domain.errors import NeedsHumanError, NotFoundError, OrchestratorError, PermanentError, TransientError

READ: Final = httpx.Timeout(30.0, connect=10.0)
# A merge runs hooks and may wait for a lock. Giving up early is the worst: the push lands and its record does not.
MERGE: Final = httpx.Timeout(900.0, connect=10.0)
PAGE: Final = 50
_MOST_PAGES: Final = 2000
"""A list that does not end by then is a list that repeats itself."""
_SAID: Final = 500

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``body`` is the parsed JSON, None when there was none; ``said`` is the message for people."""

    status: int
    body: Any
    said: str
    headers: Mapping[str, str]

    @property
    def row(self) -> Row:
        """The body as one object. Raises TransientError: a proxy's page is no answer of the forge."""
        if isinstance(self.body, dict):
            return self.body
        raise TransientError(f"the forge answered {self.status} without the object that was asked for: {self.said}")

    def rows(self, key: str = "") -> list[Row]:
        """The body (or its field ``key``) as a list of objects; null and nothing are an empty list."""
        found = self.body.get(key) if key and isinstance(self.body, dict) else self.body
        if found is None:
            return []
        if isinstance(found, list):
            return [one for one in found if isinstance(one, dict)]
        raise TransientError(f"the forge answered {self.status} without the list that was asked for: {self.said}")


@dataclass(frozen=True, slots=True)
class Service:
    """Which forge is spoken to, and what its words are. ``token_setting`` is named where the token is refused;
    ``says_next``: the last page of a list is the one whose ``Link`` names no next one."""

    name: str
    api: str
    token_setting: str
    headers: Callable[[], Mapping[str, str]]
    page_word: str
    says_next: bool = False


class ForgeWire:
    """Requests to one forge. Safe to use from several threads and after a fork: no connection is kept."""

    def __init__(self, service: Service) -> None:
        self.service = service
        # A kept connection may be dead when it is used next, and that would be an unclear end of a write.
        self._client = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), follow_redirects=False)

    def send(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str | int] | None = None,
        timeout: httpx.Timeout = READ,
        accept: Collection[int] = (),
    ) -> Answer:
        """One request. Answers of 2xx and those in ``accept`` are returned, all others raise.

        Raises TransientError (not answered, rate limit with its time, 5xx), NeedsHumanError (token, rights, archived),
        NotFoundError, PermanentError.
        """
        where = f"{self.service.name} {method} {path}"
        try:
            response = self._client.request(
                method,
                f"{self.service.api}{path}",
                json=json,
                params=params,
                timeout=timeout,
                headers=dict(self.service.headers()),
            )
        except (httpx.RequestError, httpx.InvalidURL) as error:
            # Not "from error": its request holds the token.
            raise TransientError(f"{where}: no answer ({type(error).__name__}: {error})") from None
        answer = _answer(response)
        if response.is_success or response.status_code in accept:
            return answer
        raise self._error(where, answer)

    def pages(self, path: str, params: Mapping[str, str | int] | None = None, key: str = "") -> Iterator[Row]:
        """Every row of a list, page after page, counted by ourselves: links may name hosts that we cannot reach.

        The forge may cut the page to less than was asked for, so a short page alone does not end the list.
        """
        seen = 0
        for page in range(1, _MOST_PAGES + 1):
            asked = {**(params or {}), self.service.page_word: PAGE, "page": page}
            answer = self.send("GET", path, params=asked)
            rows = answer.rows(key)
            yield from rows
            seen += len(rows)
            if not rows or self._was_last(answer, seen):
                return
        raise PermanentError(f"{self.service.name} {path}: the list has no end")

    def _was_last(self, answer: Answer, seen: int) -> bool:
        if self.service.says_next:
            return 'rel="next"' not in answer.headers.get("link", "")
        total = answer.headers.get("x-total-count", "")
        return total.isdigit() and seen >= int(total)

    def _error(self, where: str, answer: Answer) -> OrchestratorError:
        said = f"{where}: {answer.status} {answer.said}".rstrip()
        status = answer.status
        if status == 429 or (status == 403 and _is_rate_limit(answer)):
            return TransientError(f"{said}: the rate limit is reached", retry_after_s=_wait_s(answer))
        if status >= 500 or status == 408:
            return TransientError(said)
        if status == 401:
            return NeedsHumanError(said, remedy=f"the token was refused: check {self.service.token_setting}")
        if status == 403:
            return NeedsHumanError(said, remedy=f"check the rights of {self.service.token_setting}: `orch doctor`")
        if status == 423:
            return NeedsHumanError(said, remedy="the repository is archived: unarchive it, or take the project out")
        if status == 404:
            return NotFoundError(said, remedy="check `repository` in orchestrator.yml, and that the token may read it")
        if 300 <= status < 400:
            return PermanentError(said, remedy="the address has moved: name the new one in orchestrator.yml")
        return PermanentError(said)


def segment(text: str) -> str:
    """``text`` as one part of a path."""
    return quote(text, safe="")


def _answer(response: httpx.Response) -> Answer:
    try:
        body = response.json() if response.content else None
    except ValueError:
        body = None
    return Answer(response.status_code, body, _said(response, body), response.headers)


def _said(response: httpx.Response, body: object) -> str:
    if isinstance(body, dict):
        parts = [body.get("message"), *_details(body.get("errors")), body.get("Err"), body.get("StdErr")]
        return "; ".join(str(one).strip() for one in parts if one)[:_SAID]
    return "" if isinstance(body, list) else response.text.strip()[:_SAID]


def _details(errors: object) -> Iterator[str]:
    for one in errors if isinstance(errors, list) else ():
        yield str(one.get("message") or one.get("code") or "") if isinstance(one, dict) else str(one)


def _is_rate_limit(answer: Answer) -> bool:
    return "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"


def _wait_s(answer: Answer) -> float | None:
    named, reset = answer.headers.get("retry-after", ""), answer.headers.get("x-ratelimit-reset", "")
    if named.isdigit():
        return float(named)
    return max(1.0, float(reset) - time.time()) if reset.isdigit() else None


# --- fields of rows: missing and null are the same, unknown ones are not looked at ------------------------------


def at(row: Row, *path: str) -> Any:  # whatever JSON holds there
    """What stands at ``path``; None where it is missing."""
    found: Any = row
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def text(row: Row, *path: str) -> str:
    """The text at ``path``; empty where there is none."""
    found = at(row, *path)
    return found if isinstance(found, str) else ""


def number(row: Row, *path: str) -> int:
    """The whole number at ``path``; 0 where there is none."""
    found = at(row, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def flag(row: Row, *path: str) -> bool:
    """Whether true stands at ``path``."""
    return at(row, *path) is True
