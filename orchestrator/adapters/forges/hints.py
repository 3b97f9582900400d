"""What deliveries of Gitea and GitHub have in common: how they name a repository, a branch and a pull request."""

from __future__ import annotations

import json
from typing import Any, Final

from orchestrator.adapters.forges.wire import Row, at, number, text
from orchestrator.ports import Hint

HEADS: Final = "refs/heads/"


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
