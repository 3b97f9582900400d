"""The built-in forge: a bare git repository for branches, the orchestrator's own database for pull requests.

A merge is in git first and in the database after it. A crash between the two leaves a pull request that is merged in
git and open here; it is shown so, and ``settle_pull_request`` mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.adapters.forges.bare_repository import BareRepository
from orchestrator.adapters.git.names import checked_branch, checked_sha
from orchestrator.domain.errors import LostRaceError, NotFoundError, PermanentError, UsageError
from orchestrator.domain.ownership import LostRace
from orchestrator.ports import CommitStatus, PullRequest, PullRequestState, StatusState
from orchestrator.store import local_forge
from orchestrator.store.database import Store
from orchestrator.store.local_forge import PullRequestRow


class LocalForge:
    """Branches, pull requests and statuses of one project's bare repository (``create_repository`` makes one).

    ``environment`` gives PATH and HOME to git. No transaction is open while git runs.
    """

    def __init__(
        self,
        store: Store,
        project: str,
        repository: Path,
        base_branch: str,
        environment: Callable[[], Mapping[str, str]],
    ) -> None:
        self._store = store
        self._project = project
        self._base_branch = checked_branch(base_branch)
        self._git = BareRepository(repository, environment)

    def remote_url(self) -> str:
        """The path of the repository: no credentials are needed to reach it."""
        return str(self._git.path)

    def git_environment(self) -> Mapping[str, str]:
        return {}

    def branch_tip(self, branch: str) -> str | None:
        """Where the branch stands now, or None."""
        return self._git.tip(branch)

    # --- pull requests ---------------------------------------------------------------------------------------

    def find_pull_requests(self, head_branch: str) -> Sequence[PullRequest]:
        """All pull requests from that branch, in every state, oldest first."""
        with self._store.transaction() as connection:
            rows = local_forge.pull_requests_from(connection, self._project, head_branch)
        tip = self._git.tip(head_branch)
        return [self._shown(row, tip) for row in rows]

    def pull_request(self, number: int) -> PullRequest:
        """As the database knows it, with the tip that git has. Raises NotFoundError."""
        row = self._row(number)
        return self._shown(row, self._git.tip(row.head_branch))

    def open_pull_request(self, *, head_branch: str, base_branch: str, title: str, body: str) -> PullRequest:
        """Open one. Raises LostRaceError when one is open for this head and base, NotFoundError without a branch."""
        if head_branch == base_branch:
            raise UsageError(f"{head_branch} cannot be merged into itself")
        tip = self._need_tip(head_branch)
        self._need_tip(base_branch)
        with self._store.transaction() as connection:
            row = local_forge.open_pull_request(
                connection, self._project, head_branch=head_branch, base_branch=base_branch, title=title, body=body
            )
        if isinstance(row, LostRace):
            raise LostRaceError(row.why)
        return self._shown(row, tip)

    def merge_pull_request(self, number: int, *, expected_head: str, message: str) -> None:
        """Fast-forward the base branch to ``expected_head`` and mark the pull request merged.

        Raises LostRaceError, with nothing done, when the pull request is not open any more, its head is not at
        ``expected_head``, or the base branch has what ``expected_head`` has not. ``message`` belongs to the commit,
        which is built before: a fast-forward makes none.
        """
        row = self._row(number)
        old = self._judge(row, checked_sha(expected_head))
        # Point of no return. What was judged above may have changed since: git compares it again.
        landed = self._git.fast_forward(
            number, base_branch=row.base_branch, old=old, head_branch=row.head_branch, new=expected_head
        )
        if not landed:
            self._judge(self._row(number), expected_head)
            raise LostRaceError(f"pull request {number}: a branch moved during the merge; nothing was merged")
        self._mark_merged(number, expected_head)

    def settle_pull_request(self, number: int, merged_sha: str) -> None:
        """Mark as merged a pull request whose commit ``merged_sha`` is in the base branch. Repeating it is harmless.

        Raises PermanentError when the commit is not in the base branch, LostRaceError for a closed pull request.
        """
        row = self._row(number)
        base = self._need_tip(row.base_branch)
        if not self._git.is_ancestor(checked_sha(merged_sha), base):
            raise PermanentError(f"pull request {number}: {merged_sha} is not in {row.base_branch}, not merged")
        if not self._git.end_merged(number, merged_sha) and self._git.merged_commit(number) is None:
            raise LostRaceError(f"pull request {number} is closed for good")
        self._mark_merged(number, self._git.merged_commit(number) or merged_sha)

    def close_pull_request(self, number: int) -> None:
        """Close for good, without merging: no merge lands after this returns. Closing a closed one is harmless.

        Raises LostRaceError when it is merged, in git at least.
        """
        row = self._row(number)
        self._git.end_closed(number)
        merged = self._git.merged_commit(number) or row.merge_sha
        if merged is not None:
            raise LostRaceError(f"pull request {number} is merged already as {merged}")
        with self._store.transaction() as connection:
            local_forge.mark_closed_if_open(connection, self._project, number)

    def _judge(self, row: PullRequestRow, head: str) -> str:
        """The tip of the base branch when ``head`` may be merged onto it now. Raises LostRaceError."""
        if row.state is PullRequestState.MERGED:
            raise LostRaceError(f"pull request {row.number} is merged already as {row.merge_sha}")
        if row.state is PullRequestState.CLOSED:
            raise LostRaceError(f"pull request {row.number} is closed for good")
        tip, base = self._git.tip(row.head_branch), self._need_tip(row.base_branch)
        if tip != head:
            raise LostRaceError(f"pull request {row.number}: {row.head_branch} is at {tip or 'nothing'}, not at {head}")
        if self._git.is_ancestor(head, base):
            raise LostRaceError(f"pull request {row.number}: {row.base_branch} has {head} already; settle it")
        if self._git.has_ended(row.number):
            raise LostRaceError(f"pull request {row.number} has ended already")
        if not self._git.is_ancestor(base, head):
            raise LostRaceError(f"pull request {row.number}: {row.base_branch} moved to {base}, which {head} has not")
        return base

    def _mark_merged(self, number: int, sha: str) -> None:
        # Zero rows: somebody settled it since git had it. It cannot be closed: its end in git says merged.
        with self._store.transaction() as connection:
            local_forge.mark_merged_if_open(connection, self._project, number, sha)

    # --- branches and statuses -------------------------------------------------------------------------------

    def delete_branch(self, branch: str, *, expected_tip: str) -> None:
        """Delete the branch while it stands at ``expected_tip``. Gone already is success.

        Raises LostRaceError when it stands elsewhere, PermanentError for the base branch.
        """
        if branch == self._base_branch:
            raise PermanentError(f"{branch} is the base branch of {self._project} and is never deleted")
        if self._git.tip(branch) is None or self._git.delete(branch, expected_tip):
            return
        tip = self._git.tip(branch)
        if tip is not None:
            raise LostRaceError(f"{branch} is at {tip}, not at {expected_tip}: it was not deleted")

    def statuses(self, sha: str) -> Sequence[CommitStatus]:
        """The newest status of each context."""
        with self._store.transaction() as connection:
            return local_forge.statuses(connection, self._project, checked_sha(sha))

    def set_status(self, sha: str, context: str, state: StatusState, description: str) -> None:
        """Say how ``context`` judges the commit; the newest word counts."""
        with self._store.transaction() as connection:
            local_forge.set_status(connection, self._project, checked_sha(sha), context, state, description)

    def _row(self, number: int) -> PullRequestRow:
        with self._store.transaction() as connection:
            row = local_forge.pull_request(connection, self._project, number)
        if row is None:
            raise NotFoundError(f"{self._project} has no pull request {number}")
        return row

    def _need_tip(self, branch: str) -> str:
        tip = self._git.tip(branch)
        if tip is None:
            raise NotFoundError(f"there is no branch {branch} in {self._git.path}", remedy="push it first")
        return tip

    def _shown(self, row: PullRequestRow, tip: str | None) -> PullRequest:
        return PullRequest(
            number=row.number,
            state=row.state,
            head_branch=row.head_branch,
            base_branch=row.base_branch,
            head_sha=tip,
            merge_sha=row.merge_sha,
            title=row.title,
            body=row.body,
            url=f"{self._git.path}#pull/{row.number}",
        )
