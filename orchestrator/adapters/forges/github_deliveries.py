"""Deliveries of GitHub's webhooks: what one speaks of. A redelivery has the same body, so its content tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from orchestrator.adapters.forges import hints
from orchestrator.adapters.forges.wire import Row, at, number, text
from orchestrator.ports import OWN_WRITE, Hint


def hint(
    event: str, body: bytes, full_name: str, base_branch: str, me: Callable[[], str] = hints.nobody
) -> Hint | None:
    """What a delivery of ``event`` speaks of in the repository ``full_name``; None: another one. ``me``: the login of
    our token's user."""
    row = hints.opened_body(body)
    if row is None:
        return hints.unreadable()
    if not hints.is_of(row, full_name):
        return None
    if hints.is_own_write(event, row, base_branch, me):
        return Hint(note=OWN_WRITE)
    reader = _READERS.get(event)
    return (
        Hint(note=f"{event or 'an event without a name'}: nothing rests on it")
        if reader is None
        else reader(row, base_branch)
    )


def _status(row: Row, _base_branch: str) -> Hint:
    return Hint(heads=tuple(filter(None, (text(row, "sha"),))))


def _check(row: Row, _base_branch: str) -> Hint:
    """A check run or a suite of them."""
    told = at(row, "check_run") or at(row, "check_suite")
    if not isinstance(told, dict):
        return Hint(everything=True, note="it does not say which check")
    return Hint(
        heads=tuple(filter(None, (text(told, "head_sha"),))),
        branches=tuple(filter(None, (text(told, "check_suite", "head_branch") or text(told, "head_branch"),))),
        pull_requests=tuple(_numbers(told)),
    )


def _numbers(told: Row) -> Iterator[int]:
    listed = at(told, "pull_requests")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and number(one, "number"):
            yield number(one, "number")


def _comment(row: Row, _base_branch: str) -> Hint:
    if at(row, "issue", "pull_request") is None:
        return Hint(note="a comment on an issue: nothing rests on it")
    return hints.of_pull(row)


_READERS: Final[Mapping[str, Callable[[Row, str], Hint]]] = {
    "push": hints.of_ref,
    "create": hints.of_short_ref,
    "delete": hints.of_short_ref,
    "status": _status,
    "check_run": _check,
    "check_suite": _check,
    "issue_comment": _comment,
    **{
        name: lambda row, _base_branch: hints.of_pull(row)
        for name in ("pull_request", "pull_request_review", "pull_request_review_comment", "pull_request_review_thread")
    },
}
