"""``ports.Forge`` on Gitea and Forgejo.

The base branch is moved by the forge alone: as a fast-forward, with the expected head, so that what lands is the commit
that was tested. What an answer other than 200 means is never guessed from it: the pull request is read again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from orchestrator.adapters.forges import gitea_deliveries
from orchestrator.adapters.forges.addresses import Address
from orchestrator.adapters.forges.gitea_api import GiteaApi, Pull, Review
from orchestrator.adapters.forges.remote_repository import RemoteRepository
from orchestrator.adapters.forges.wire import Answer
from orchestrator.adapters.git.names import checked_sha
from orchestrator.domain.errors import (
    LostRaceError,
    NeedsHumanError,
    NotFoundError,
    OrchestratorError,
    PermanentError,
    TransientError,
    UsageError,
)
from orchestrator.ports import Hint, PullRequest, PullRequestState
from orchestrator.secret import Secret

CHECKING: Final = "try again later"


class GiteaForge(RemoteRepository[GiteaApi]):
    """``ports.Forge`` on one repository of this forge."""

    git_user = "orchestrator"

    @staticmethod
    def connect(address: Address, token: Secret) -> GiteaApi:
        return GiteaApi(address, token)

    def hint(self, event: str, body: bytes) -> Hint | None:
        """What a delivery of this repository's webhook speaks of; None: another repository."""
        return gitea_deliveries.hint(event, body, self._address.full_name, self._base_branch, self.login)

    # --- pull requests ---------------------------------------------------------------------------------------

    def find_pull_requests(self, head_branch: str) -> Sequence[PullRequest]:
        """All pull requests from that branch of this repository, in every state, oldest first."""
        return self._of_branch(head_branch, "all")

    def pull_request(self, number: int) -> PullRequest:
        return self.api.pull(number).shown

    def open_pull_request(self, *, head_branch: str, base_branch: str, title: str, body: str) -> PullRequest:
        """Open one. Raises LostRaceError when one is open, NotFoundError without a branch.

        The server's own check is not atomic: of two that were opened at once the lower number stays.
        """
        if head_branch == base_branch:
            raise UsageError(f"{head_branch} cannot be merged into itself")
        answer = self.api.open_pull(head_branch, base_branch, title, body)
        if answer.status == 409:
            raise LostRaceError(f"a pull request from {head_branch} to {base_branch} is open already: {answer.said}")
        if answer.status in (404, 422):
            raise self._why_not_opened(head_branch, base_branch, answer)
        made = self._read_number(answer)
        self._withdraw_if_second(made, base_branch)
        return made

    def _read_number(self, answer: Answer) -> PullRequest:
        return self.pull_request(int(answer.row["number"]))

    def _why_not_opened(self, head: str, base: str, answer: Answer) -> OrchestratorError:
        for branch in (head, base):
            if self.branch_tip(branch) is None:
                return NotFoundError(
                    f"there is no branch {branch} in {self._address.full_name}", remedy="push it first"
                )
        return PermanentError(f"no pull request from {head} to {base} can be opened: {answer.said}")

    def _withdraw_if_second(self, made: PullRequest, base_branch: str) -> None:
        still_open = [one for one in self._of_branch(made.head_branch, "open") if one.base_branch == base_branch]
        first = min((one.number for one in still_open), default=made.number)
        if first < made.number:
            self.close_pull_request(made.number)
            raise LostRaceError(f"pull request {first} from {made.head_branch} was opened at the same time and stays")

    def _of_branch(self, head_branch: str, state: str) -> list[PullRequest]:
        return [one.shown for one in self.api.pulls(state) if one.from_here and one.shown.head_branch == head_branch]

    def close_pull_request(self, number: int) -> None:
        """Close it. Closing a closed one is harmless. Raises LostRaceError when it is merged."""
        answer = self.api.close_pull(number)
        if answer.status == 412 or self.pull_request(number).state is PullRequestState.MERGED:
            raise LostRaceError(f"pull request {number} is merged already")

    # --- merge -----------------------------------------------------------------------------------------------

    def merge_pull_request(self, number: int, *, expected_head: str, message: str) -> None:
        """Have the forge fast-forward the base branch to ``expected_head``.

        Raises LostRaceError, with nothing done by this call, when the pull request has ended or its head or base
        moved; NeedsHumanError when the forge's rules forbid it; TransientError when nobody can tell. ``message``
        stands in the commit that is merged: a fast-forward makes none.
        """
        for pause_s in (*self._pauses_s, 0.0):
            self._judge(number, checked_sha(expected_head))
            # Point of no return: the server compares the head again, and a base that moved is no fast-forward.
            answer = self.api.merge_fast_forward(number, expected_head)
            if answer.status == 200:
                return
            self._explain(number, expected_head, answer)
            time.sleep(pause_s)
        raise TransientError(f"pull request {number} was not merged: the forge is still looking for conflicts")

    def _judge(self, number: int, head: str) -> Pull:
        """A current read that speaks for merging ``head`` now. Raises LostRaceError."""
        pull = self.api.pull(number)
        found = pull.shown
        if found.state is PullRequestState.MERGED:
            raise LostRaceError(f"pull request {number} is merged already as {found.merge_sha}")
        if found.state is PullRequestState.CLOSED:
            raise LostRaceError(f"pull request {number} is closed")
        if found.head_sha != head:
            raise LostRaceError(
                f"pull request {number}: {found.head_branch} is at {found.head_sha or 'nothing'}, not at {head}"
            )
        if pull.base_sha == head:
            raise LostRaceError(f"pull request {number}: {found.base_branch} has {head} already; settle it")
        return pull

    def _explain(self, number: int, head: str, answer: Answer) -> None:
        """Raise what a fresh read and the answer together mean; return when it is to be asked again."""
        said = f"pull request {number} was not merged: {answer.status} {answer.said}"
        pull = self._judge(number, head)
        if self._has_moved(pull.base_sha, head):
            raise LostRaceError(f"pull request {number}: {pull.shown.base_branch} has what {head} has not; {said}")
        if answer.status == 405 and CHECKING in answer.said.lower():
            return
        if answer.status == 405 and "status checks" not in answer.said:
            raise NeedsHumanError(said, remedy="see the merge settings and the branch protection of the repository")
        if answer.status == 409 and "PushRejected" in answer.said:
            raise NeedsHumanError(said, remedy="a hook or a rule of the forge refused the push")
        raise TransientError(said)

    def _has_moved(self, base: str, head: str) -> bool:
        """Whether the base branch has commits that ``head`` has not. Only explains a refusal, so unknown is no."""
        try:
            return bool(base) and self.api.commits_between(head, base) > 0
        except OrchestratorError:
            return False

    def settle_pull_request(self, number: int, merged_sha: str) -> None:
        """Mark as merged a pull request whose commit the base branch has; nothing is merged. Repeating is harmless.

        Raises PermanentError when the base branch has not got it, LostRaceError for a closed pull request,
        NeedsHumanError when the repository forbids it.
        """
        if self._is_merged(number):
            return
        answer = self.api.mark_merged(number, checked_sha(merged_sha))
        if answer.status == 200 or self._is_merged(number):
            return
        if answer.status == 405:
            raise NeedsHumanError(
                f"pull request {number} is merged in git and open on the forge: {answer.said}",
                remedy="allow manual merges in the repository's settings (`orch init` does), or mark it yourself",
            )
        if answer.status == 409:
            raise PermanentError(f"pull request {number}: {merged_sha} is not in its base branch: {answer.said}")
        raise TransientError(f"pull request {number} cannot be marked as merged: {answer.status} {answer.said}")

    def _is_merged(self, number: int) -> bool:
        state = self.pull_request(number).state
        if state is PullRequestState.CLOSED:
            raise LostRaceError(f"pull request {number} is closed")
        return state is PullRequestState.MERGED

    # --- words of people -------------------------------------------------------------------------------------

    def reviews(self, number: int) -> Sequence[Review]:
        """What people said of the pull request, oldest first."""
        return self.api.reviews(number)
