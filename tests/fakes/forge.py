"""``ports.Forge`` in memory. It keeps the contract of forges (see test_fakes_keep_the_contracts)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import RLock

from orchestrator.domain.errors import LostRaceError, NotFoundError, PermanentError
from orchestrator.ports import CommitStatus, PullRequest, PullRequestState, StatusState
from tests.fakes.repository import Remote
from tests.fakes.wire import Wire


@dataclass
class FakeForge:
    remote: Remote
    wire: Wire
    base_branch: str = "main"
    records_merges: bool = True
    """False: a merge lands in git and its record is lost, as when the forge is killed between the two."""
    _requests: list[PullRequest] = field(default_factory=list)
    _statuses: dict[str, dict[str, CommitStatus]] = field(default_factory=dict)
    _lock: RLock = field(default_factory=RLock)

    def remote_url(self) -> str:
        return "memory:"

    def git_environment(self) -> Mapping[str, str]:
        return {}

    def branch_tip(self, branch: str) -> str | None:
        return self.remote.branches.get(branch)

    def find_pull_requests(self, head_branch: str) -> Sequence[PullRequest]:
        return [self._shown(one) for one in self._requests if one.head_branch == head_branch]

    def pull_request(self, number: int) -> PullRequest:
        if not 0 < number <= len(self._requests):
            raise NotFoundError(f"there is no pull request {number}")
        return self._shown(self._requests[number - 1])

    def open_pull_request(self, *, head_branch: str, base_branch: str, title: str, body: str) -> PullRequest:
        return self.wire.send("open_pull_request", lambda: self._open(head_branch, base_branch, title, body))

    def _open(self, head_branch: str, base_branch: str, title: str, body: str) -> PullRequest:
        with self._lock:
            if head_branch not in self.remote.branches:
                raise NotFoundError(f"there is no branch {head_branch}")
            if any(one.state is PullRequestState.OPEN for one in self.find_pull_requests(head_branch)):
                raise LostRaceError(f"{head_branch} has an open pull request")
            number = len(self._requests) + 1
            made = PullRequest(
                number=number,
                state=PullRequestState.OPEN,
                head_branch=head_branch,
                base_branch=base_branch,
                head_sha=None,
                merge_sha=None,
                title=title,
                body=body,
                url=f"memory:#{number}",
            )
            self._requests.append(made)
            self.wire.landed.append(("open_pull_request", head_branch))
            return self._shown(made)

    def merge_pull_request(self, number: int, *, expected_head: str, message: str) -> None:
        self.wire.send("merge_pull_request", lambda: self._merge(number, expected_head))

    def _merge(self, number: int, expected_head: str) -> None:
        with self._lock:
            found, base = self.pull_request(number), self.remote.branches[self.base_branch]
            if found.state is not PullRequestState.OPEN:
                raise LostRaceError(f"pull request {number} is {found.state} already")
            if found.head_sha != expected_head:
                raise LostRaceError(f"pull request {number}: the head is {found.head_sha}")
            if self.remote.has(expected_head, base) or not self.remote.has(base, expected_head):
                raise LostRaceError(f"pull request {number}: the base is {base}")
            self.remote.branches[self.base_branch] = expected_head
            self.wire.landed.append(("merge_pull_request", expected_head))
            if self.records_merges:
                self._end(number, PullRequestState.MERGED, expected_head)

    def settle_pull_request(self, number: int, merged_sha: str) -> None:
        self.wire.send("settle_pull_request", lambda: self._settle(number, merged_sha))

    def _settle(self, number: int, merged_sha: str) -> None:
        if not self.remote.has(merged_sha, self.remote.branches[self.base_branch]):
            raise PermanentError(f"{merged_sha} is not in {self.base_branch}")
        if self.pull_request(number).state is PullRequestState.OPEN:
            self._end(number, PullRequestState.MERGED, merged_sha)
            self.wire.landed.append(("settle_pull_request", merged_sha))

    def close_pull_request(self, number: int) -> None:
        self.wire.send("close_pull_request", lambda: self._close(number))

    def _close(self, number: int) -> None:
        with self._lock:
            found = self.pull_request(number)
            in_git = found.head_sha and self.remote.has(found.head_sha, self.remote.branches[self.base_branch])
            if found.state is PullRequestState.MERGED or in_git:
                raise LostRaceError(f"pull request {number} is merged already")
            if found.state is PullRequestState.OPEN:
                self._end(number, PullRequestState.CLOSED, None)
                self.wire.landed.append(("close_pull_request", str(number)))

    def delete_branch(self, branch: str, *, expected_tip: str) -> None:
        self.wire.send("delete_branch", lambda: self._delete(branch, expected_tip))

    def _delete(self, branch: str, expected_tip: str) -> None:
        if branch == self.base_branch:
            raise PermanentError(f"{branch} is the base branch")
        tip = self.remote.branches.get(branch)
        if tip is not None and tip != expected_tip:
            raise LostRaceError(f"{branch} is at {tip}")
        if tip is not None:
            del self.remote.branches[branch]
            self.wire.landed.append(("delete_branch", branch))

    def statuses(self, sha: str) -> Sequence[CommitStatus]:
        return list(self._statuses.get(sha, {}).values())

    def set_status(self, sha: str, context: str, state: StatusState, description: str) -> None:
        self._statuses.setdefault(sha, {})[context] = CommitStatus(context, state, description)

    def merged_by_a_person(self, number: int, sha: str) -> None:
        """Somebody presses the button: the base gets ``sha``, whatever it is made of."""
        self.remote.branches[self.base_branch] = sha
        self._end(number, PullRequestState.MERGED, sha)

    def closed_by_a_person(self, number: int) -> None:
        self._end(number, PullRequestState.CLOSED, None)

    def reopened_by_a_person(self, number: int) -> None:
        self._end(number, PullRequestState.OPEN, None)

    def _end(self, number: int, state: PullRequestState, sha: str | None) -> None:
        self._requests[number - 1] = replace(self._requests[number - 1], state=state, merge_sha=sha)

    def _shown(self, one: PullRequest) -> PullRequest:
        return replace(one, head_sha=self.remote.branches.get(one.head_branch))
