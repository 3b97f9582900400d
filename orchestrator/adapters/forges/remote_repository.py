"""What every forge over HTTP has in common: git beside the API, statuses, and words under a marker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from orchestrator.adapters.forges.addresses import Address, git_login
from orchestrator.adapters.forges.markers import Comment, find_marked, repeated, with_marker
from orchestrator.adapters.forges.remote_branches import RemoteBranches
from orchestrator.adapters.git.names import checked_branch, checked_sha
from orchestrator.domain.errors import OrchestratorError, PermanentError, TransientError
from orchestrator.ports import CommitStatus, StatusState
from orchestrator.secret import Secret

# The server looks through a push in the background, which takes seconds; what takes longer waits for the next pass.
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)


class Api(Protocol):
    """The calls that need no words of one forge."""

    def user(self) -> str: ...

    def statuses(self, sha: str, /) -> Sequence[CommitStatus]: ...

    def set_status(self, sha: str, context: str, state: str, description: str, /) -> None: ...

    def comments(self, number: int, /) -> Iterable[Comment]: ...

    def add_comment(self, number: int, body: str, /) -> int: ...

    def delete_comment(self, key: int, /) -> None: ...


A = TypeVar("A", bound=Api)


class RemoteRepository(ABC, Generic[A]):
    """One repository. ``environment`` gives PATH, HOME and proxies to git; ``scratch`` is a folder of our own."""

    git_user: ClassVar[str]
    """The name beside the token, which is the password."""

    def __init__(
        self,
        address: Address,
        token: Secret,
        *,
        base_branch: str,
        scratch: Path,
        environment: Callable[[], Mapping[str, str]],
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self.api = self.connect(address, token)
        self._address = address
        self._token = token
        self._login: str | None = None
        self._base_branch = checked_branch(base_branch)
        self._pauses_s = tuple(pauses_s)
        self._branches = RemoteBranches(scratch, address.clone_url, lambda: {**environment(), **self.git_environment()})

    @staticmethod
    @abstractmethod
    def connect(address: Address, token: Secret) -> A:
        """The forge's API."""

    def remote_url(self) -> str:
        return self._address.clone_url

    def git_environment(self) -> Mapping[str, str]:
        return git_login(self._address, self.git_user, self._token)

    def login(self) -> str:
        """Login of the token's user, by which our own writes are told; empty where the forge does not say: then
        everything is looked at. A token stays its user's, so it is asked for once."""
        if self._login is None:
            try:
                self._login = self.api.user()
            except TransientError:
                return ""
            except OrchestratorError:
                self._login = ""
        return self._login

    def branch_tip(self, branch: str) -> str | None:
        return self._branches.tip(branch)

    def delete_branch(self, branch: str, *, expected_tip: str) -> None:
        """By git, since the API takes no expected tip. Gone already is success."""
        if branch == self._base_branch:
            raise PermanentError(f"{branch} is the base branch of {self._address.full_name} and is never deleted")
        self._branches.delete(branch, expected_tip)

    def statuses(self, sha: str) -> Sequence[CommitStatus]:
        return self.api.statuses(checked_sha(sha))

    def set_status(self, sha: str, context: str, state: StatusState, description: str) -> None:
        self.api.set_status(checked_sha(sha), context, state.value, description)

    def find_comment(self, number: int, marker: str) -> str | None:
        """Id of the comment of the pull request that carries ``marker``, or None."""
        return find_marked(self.api.comments(number), marker)

    def add_comment(self, number: int, marker: str, text: str) -> str:
        """Add ``text`` with the hidden ``marker``, unless a comment carries it already; its id.

        No forge has a key for it: so a look first, and a look afterwards for what raced us. The request of a process
        that died may still land after both; the next comment on the pull request, whatever its marker, takes it away.
        """
        seen = list(self.api.comments(number))
        if find_marked(seen, marker) is None:
            self.api.add_comment(number, with_marker(text, marker))
            seen = list(self.api.comments(number))
        for surplus in repeated(seen, self.login):
            self.api.delete_comment(surplus)
        found = find_marked(seen, marker)
        if found is None:
            raise TransientError(f"a comment of pull request {number} was written and cannot be seen")
        return found
