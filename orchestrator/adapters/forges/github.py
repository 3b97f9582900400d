"""``ports.Forge`` on GitHub.

GitHub's merge button makes a commit of its own on whatever the base branch is by then. So the base branch is moved
here by one atomic update of two refs: it goes from the base that was read to the head that was tested, as a
fast-forward, and the head branch is compared in the same step. GitHub finds by itself that the pull request is merged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from orchestrator.adapters.forges import github_deliveries
from orchestrator.adapters.forges.addresses import Address
from orchestrator.adapters.forges.github_api import GithubApi, Move
from orchestrator.adapters.forges.remote_repository import RemoteRepository
from orchestrator.adapters.forges.wire import Answer, Row, at, flag, number, text
from orchestrator.adapters.git.names import checked_sha
from orchestrator.domain.errors import (
    LostRaceError,
    NotFoundError,
    OrchestratorError,
    PermanentError,
    TransientError,
    UsageError,
)
from orchestrator.ports import Hint, PullRequest, PullRequestState
from orchestrator.secret import Secret


class GithubForge(RemoteRepository[GithubApi]):
    """``ports.Forge`` on one repository of this forge."""

    git_user = "x-access-token"

    @staticmethod
    def connect(address: Address, token: Secret) -> GithubApi:
        return GithubApi(address, token)

    def hint(self, event: str, body: bytes) -> Hint | None:
        """What a delivery of this repository's webhook speaks of; None: another repository."""
        return github_deliveries.hint(event, body, self._address.full_name, self._base_branch, self.login)

    # --- pull requests ---------------------------------------------------------------------------------------

    def find_pull_requests(self, head_branch: str) -> Sequence[PullRequest]:
        """All pull requests from that branch of this repository, in every state, oldest first."""
        rows = [row for row in self.api.pulls(head_branch, "all") if text(row, "head", "ref") == head_branch]
        tip = self.branch_tip(head_branch) if rows else None
        return [self._shown(row, tip) for row in sorted(rows, key=lambda row: number(row, "number"))]

    def pull_request(self, number: int) -> PullRequest:
        """The head is read from git: the one that GitHub has recorded can be behind."""
        row = self.api.pull(number)
        return self._shown(row, self.branch_tip(text(row, "head", "ref")))

    def open_pull_request(self, *, head_branch: str, base_branch: str, title: str, body: str) -> PullRequest:
        """Open one. Raises LostRaceError when one is open for this head and base, NotFoundError without a branch."""
        if head_branch == base_branch:
            raise UsageError(f"{head_branch} cannot be merged into itself")
        answer = self.api.open_pull(head_branch, base_branch, title, body)
        if answer.status == 422:
            raise self._why_not_opened(head_branch, base_branch, answer)
        return self.pull_request(number(answer.row, "number"))

    def _why_not_opened(self, head: str, base: str, answer: Answer) -> OrchestratorError:
        for branch in (head, base):
            if self.branch_tip(branch) is None:
                where = self._address.full_name
                return NotFoundError(f"there is no branch {branch} in {where}", remedy="push it first")
        if any(text(row, "base", "ref") == base for row in self.api.pulls(head, "open")):
            return LostRaceError(f"a pull request from {head} to {base} is open already")
        return PermanentError(f"no pull request from {head} to {base} can be opened: {answer.said}")

    def close_pull_request(self, number: int) -> None:
        """Close it. Closing a closed one is harmless. Raises LostRaceError when it is merged."""
        before = self.pull_request(number)
        if before.state is PullRequestState.OPEN:
            self.api.close_pull(number)
            before = self.pull_request(number)
        if before.state is PullRequestState.MERGED:
            raise LostRaceError(f"pull request {number} is merged already")
        if before.state is PullRequestState.OPEN:
            raise TransientError(f"pull request {number} is open although it was asked to be closed")

    def _shown(self, row: Row, tip: str | None) -> PullRequest:
        merged = flag(row, "merged") or at(row, "merged_at") is not None
        closed = PullRequestState.CLOSED if text(row, "state") == "closed" else PullRequestState.OPEN
        return PullRequest(
            number=number(row, "number"),
            state=PullRequestState.MERGED if merged else closed,
            head_branch=text(row, "head", "ref"),
            base_branch=text(row, "base", "ref"),
            head_sha=tip,
            merge_sha=self._merged_commit(row) if merged else None,
            title=text(row, "title"),
            body=text(row, "body"),
            url=text(row, "html_url"),
        )

    def _merged_commit(self, row: Row) -> str | None:
        """What the base branch got. Before a merge the field names a trial, and after a push it may still do so."""
        named, head = text(row, "merge_commit_sha"), text(row, "head", "sha")
        if named and named != head and not self._is_in(named, text(row, "base", "ref")):
            return head or None
        return named or head or None

    def _is_in(self, sha: str, branch: str) -> bool:
        """Whether ``branch`` has the commit. Raises TransientError when nobody can tell."""
        try:
            return self.api.compare(branch, sha)[0] == 0
        except NotFoundError:
            return False

    # --- merge -----------------------------------------------------------------------------------------------

    def merge_pull_request(self, number: int, *, expected_head: str, message: str) -> None:
        """Fast-forward the base branch to ``expected_head``, while the head branch stands there.

        Raises LostRaceError, with nothing done by this call, when the pull request has ended or its head or base
        moved; TransientError when nobody can tell. ``message`` stands in the commit that is merged: a fast-forward
        makes none.
        """
        found, base = self._judge(number, checked_sha(expected_head))
        # Point of no return: both branches are compared again by the server, in the step that moves the base.
        refused = self.api.move_branches(
            (
                Move(found.base_branch, before=base, after=expected_head),
                Move(found.head_branch, before=expected_head, after=expected_head),
            )
        )
        if refused:
            raise self._explain(number, expected_head, refused)
        self._wait_for_record(number)

    def _judge(self, number: int, head: str) -> tuple[PullRequest, str]:
        """The pull request and the base's tip, when a current read speaks for merging ``head`` now."""
        found = self.pull_request(number)
        if found.state is PullRequestState.MERGED:
            raise LostRaceError(f"pull request {number} is merged already as {found.merge_sha}")
        if found.state is PullRequestState.CLOSED:
            raise LostRaceError(f"pull request {number} is closed")
        if found.head_sha != head:
            raise LostRaceError(
                f"pull request {number}: {found.head_branch} is at {found.head_sha or 'nothing'}, not at {head}"
            )
        base = self.branch_tip(found.base_branch)
        if base is None:
            raise NotFoundError(f"there is no branch {found.base_branch} in {self._address.full_name}")
        if base == head:
            raise LostRaceError(f"pull request {number}: {found.base_branch} has {head} already; settle it")
        return found, base

    def _explain(self, number: int, head: str, said: str) -> OrchestratorError:
        """What a refusal means, by a fresh read."""
        found, base = self._judge(number, head)
        if self.api.compare(base, head)[1] > 0:
            return LostRaceError(f"pull request {number}: {found.base_branch} has what {head} has not; {said}")
        # A rule of the repository, or two that moved a branch at once: its own words tell a person which.
        return TransientError(f"pull request {number} was not merged: {said}")

    def settle_pull_request(self, number: int, merged_sha: str) -> None:
        """Nothing to do but to see GitHub mark it: it does so by itself once the base branch has the head.

        Raises PermanentError when the base branch has not got it, LostRaceError for a closed pull request,
        TransientError when it is not marked yet.
        """
        found = self.pull_request(number)
        if found.state is PullRequestState.OPEN and not self._is_in(checked_sha(merged_sha), found.base_branch):
            raise PermanentError(f"pull request {number}: {merged_sha} is not in {found.base_branch}")
        state = self._wait_for_record(number)
        if state is PullRequestState.CLOSED:
            raise LostRaceError(f"pull request {number} is closed")
        if state is PullRequestState.OPEN:
            raise TransientError(f"pull request {number} is merged in git and not marked as merged yet")

    def _wait_for_record(self, number: int) -> PullRequestState:
        for pause_s in (*self._pauses_s, 0.0):
            state = self.pull_request(number).state
            if state is not PullRequestState.OPEN:
                return state
            time.sleep(pause_s)
        return PullRequestState.OPEN
