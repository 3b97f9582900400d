"""What deliveries of Gitea and GitHub have in common: how they name a repository, a branch and a pull request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from orchestrator.adapters.forges.wire import Row, at, flag, number, text
from orchestrator.ports import OWN_CONTEXT, Hint

HEADS: Final = "refs/heads/"
_REF_EVENTS: Final = ("push", "create", "delete")
_OWN_ACTIONS: Final = ("opened", "edited", "closed", "synchronize", "synchronized")
"""What the orchestrator does to pull requests, in the words of both forges."""


def nobody() -> str:
    """Whose writes are told apart where it is not known who we are: nobody's."""
    return ""


def opened_body(body: bytes) -> Row | None:
    """The payload; None when it is no JSON object."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def unreadable() -> Hint:
    return Hint(everything=True, note="the body is no JSON object")


def is_of(row: Row, full_name: str) -> bool:
    """Whether it is about this repository; one that names none may be."""
    named = text(row, "repository", "full_name")
    return not named or named.casefold() == full_name.casefold()


def is_own_write(event: str, row: Row, base_branch: str, me: Callable[[], str]) -> bool:
    """Whether it tells of a write of our own that can carry no news: one of a task's branch, of a pull request that is
    not merged, a comment, a status under our own name. ``me``: the login of the token's user.

    A merge and a move of the base branch may be news (the answer of the one was lost, others build on the other). So
    may reviews, and statuses and checks of any other name: forges sign what CI says with the name of who pushed.
    """
    if not _is_of_our_kind(event, row, base_branch):
        return False
    sender = text(row, "sender", "login")
    return bool(sender) and sender.casefold() == me().casefold()


def _is_of_our_kind(event: str, row: Row, base_branch: str) -> bool:
    if event in _REF_EVENTS:
        ref = text(row, "ref")
        return bool(ref) and ref.removeprefix(HEADS) != base_branch
    if event == "status":
        return text(row, "context") == OWN_CONTEXT
    if event.startswith("pull_request_review") or isinstance(at(row, "review"), dict):
        return False
    if isinstance(at(row, "comment"), dict):
        return True
    pull = at(row, "pull_request")
    return isinstance(pull, dict) and text(row, "action") in _OWN_ACTIONS and not flag(pull, "merged")


def of_branch(branch: str, base_branch: str, *heads: str) -> Hint:
    """A branch was pushed, made or deleted."""
    if branch == base_branch:
        # Every candidate of the lane was built on what it was before.
        return Hint(everything=True, note=f"{branch} moved")
    return Hint(branches=(branch,), heads=tuple(one for one in heads if one.strip("0")))


def of_ref(row: Row, base_branch: str) -> Hint:
    """A push: the full name of a ref, before and after."""
    ref = text(row, "ref")
    if not ref.startswith(HEADS):
        return Hint(note=f"{ref or 'no ref'}: nothing rests on it")
    return of_branch(ref.removeprefix(HEADS), base_branch, text(row, "before"), text(row, "after"))


def of_short_ref(row: Row, base_branch: str) -> Hint:
    """A branch or tag was made or deleted: the short name and what it is."""
    if text(row, "ref_type") != "branch" or not text(row, "ref"):
        return Hint(note=f"{text(row, 'ref_type') or 'a ref'}: nothing rests on it")
    return of_branch(text(row, "ref"), base_branch, text(row, "sha"))


def of_pull(row: Row) -> Hint:
    """A pull request, or something said of it."""
    pull = at(row, "pull_request") if isinstance(at(row, "pull_request"), dict) else {}
    index = number(row, "number") or number(pull, "number") or number(row, "issue", "number")
    # A pull request from a fork has the label «owner:branch»: its branch is none of ours.
    branch = text(pull, "head", "ref")
    ours = at(pull, "head", "repo", "id") == at(pull, "base", "repo", "id")
    if not index and not branch:
        return Hint(everything=True, note="it does not say which pull request")
    return Hint(
        pull_requests=(index,) if index else (),
        branches=(branch,) if branch and ours else (),
        heads=tuple(filter(None, (text(pull, "head", "sha"),))),
    )
