"""What may stand in a git command line: branches, object names, and the folder name of a branch."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.domain.errors import UsageError

_PROJECT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SHA: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# git-check-ref-format(1), written as what is forbidden; a leading hyphen would be an option.
_FORBIDDEN: Final = re.compile(r"^-|^/|/$|//|\.\.|@\{|[\x00-\x20\x7f~^:?*\[\\]|(^|/)\.|\.$|\.lock(/|$)|^@$")
_LONGEST: Final = 200


def checked_project(key: str) -> str:
    """``key`` when it can name a folder. Raises UsageError."""
    if not _PROJECT.fullmatch(key):
        raise UsageError(f"{key!r} cannot name a project: letters, digits, dot, hyphen and underscore only")
    return key


def checked_branch(branch: str) -> str:
    """``branch`` when git would take it as a branch name and no program as an option. Raises UsageError."""
    if not branch or branch == "HEAD" or len(branch.encode()) > _LONGEST or _FORBIDDEN.search(branch):
        raise UsageError(f"{branch!r} is not a legal branch name", remedy="see git check-ref-format")
    return branch


def checked_sha(sha: str) -> str:
    """``sha`` when it is a full object name. Raises UsageError: a branch or an option is none."""
    if not _SHA.fullmatch(sha):
        raise UsageError(f"{sha!r} is not a full commit SHA")
    return sha


def folder_of(branch: str) -> str:
    """One folder name for a branch. ``~`` never stands in a branch name, so this can be undone."""
    return checked_branch(branch).replace("/", "~")


def branch_of(folder: str) -> str:
    return folder.replace("~", "/")
