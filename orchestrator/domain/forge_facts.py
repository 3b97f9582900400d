"""What a forge tells: pull requests, statuses of commits, and how well a repository is connected."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

OWN_CONTEXT: Final = "orchestrator/test"
"""Name of the status that the orchestrator itself sets on a commit that it tested."""


class PullRequestState(StrEnum):
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A current read of a pull request. ``head_sha`` is the tip of its branch now (None: branch is gone)."""

    number: int
    state: PullRequestState
    head_branch: str
    base_branch: str
    head_sha: str | None
    merge_sha: str | None
    title: str
    body: str
    url: str


class StatusState(StrEnum):
    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class CommitStatus:
    context: str
    state: StatusState
    description: str


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was looked at where a project is connected: what was tried, what came of it, and the mend.

    ``mild``: it works as it is, and is worth a look.
    """

    part: str
    tried: str
    got: str
    good: bool = True
    mend: str = ""
    mild: bool = False
