"""The git half of the built-in forge: a bare repository in which a pull request ends once, with its branch's move.

A pull request's end is one ref, ``refs/orchestrator/pulls/<number>/end``: the merged commit, or an object that says
«closed». It is created in the same git transaction that moves the base branch, which also holds the head branch
still. So close and merge exclude each other, a head that moved stops a merge, and a second merge has nothing to
create, whatever a process believed when it looked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from orchestrator.adapters.git.names import checked_branch, checked_sha
from orchestrator.adapters.git.runner import Answer, Git
from orchestrator.domain.errors import ConfigurationError, PermanentError, TransientError

_OURS: Final = "refs/orchestrator"
_CLOSED: Final = b"This pull request was closed without a merge.\n"
_SETTINGS: Final = (
    ("receive.denyNonFastForwards", "true"),
    ("receive.denyDeleteCurrent", "refuse"),
    # An agent's objects come in here; a broken one would break every later fetch.
    ("receive.fsckObjects", "true"),
    # The ends of pull requests are written by this module alone.
    ("transfer.hideRefs", _OURS),
    # Two writers of one ref: wait for the other instead of failing after git's own tenth of a second.
    ("core.filesRefLockTimeout", "5000"),
    ("core.packedRefsTimeout", "5000"),
)


def create_repository(path: Path, base_branch: str, environment: Callable[[], Mapping[str, str]]) -> None:
    """Make the bare repository at ``path``, or bring the settings of the one that is there up to date.

    ``environment`` gives PATH and HOME. The base branch is its HEAD, so no push can delete it.
    """
    git = Git(environment)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot make the repository {path}: {error.strerror}") from error
    initial = f"--initial-branch={checked_branch(base_branch)}"
    git.run(path, "init", "--quiet", "--bare", "--template=", initial)
    for name, value in _SETTINGS:
        git.run(path, "config", name, value)


class BareRepository:
    """Reads and conditional writes of refs. Nothing here is forced."""

    def __init__(self, path: Path, environment: Callable[[], Mapping[str, str]]) -> None:
        self.path = path
        self._git = Git(environment)

    def tip(self, branch: str) -> str | None:
        """Where the branch stands now."""
        return self._resolve(_head(branch))

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Both must be commits of this repository. Raises PermanentError else."""
        arguments = ("merge-base", "--is-ancestor", checked_sha(ancestor), checked_sha(descendant))
        return self._run(*arguments, accept=(0, 1)).code == 0

    def merged_commit(self, number: int) -> str | None:
        """The commit that the pull request ended with; None while it has not ended, or was closed."""
        end = self._resolve(_end(number))
        return end if end is not None and self._is_commit(end) else None

    def has_ended(self, number: int) -> bool:
        """Merged or closed: it never will be merged from now on."""
        return self._resolve(_end(number)) is not None

    def fast_forward(self, number: int, *, base_branch: str, old: str, head_branch: str, new: str) -> bool:
        """Move ``base_branch`` from ``old`` to ``new`` and end the pull request, all or nothing.

        False: nothing was done, because the base is not at ``old``, the head is not at ``new``, or the pull request
        has ended.
        """
        return self._transaction(
            f"create {_end(number)} {checked_sha(new)}",
            f"verify {_head(head_branch)} {new}",
            f"update {_head(base_branch)} {new} {checked_sha(old)}",
        )

    def end_merged(self, number: int, sha: str) -> bool:
        """End the pull request as merged without moving anything; False when it has ended already."""
        return self._transaction(f"create {_end(number)} {checked_sha(sha)}")

    def end_closed(self, number: int) -> bool:
        """End the pull request without a merge; False when it has ended already."""
        said = self._run("hash-object", "-w", "--stdin", stdin=_CLOSED).text
        return self._transaction(f"create {_end(number)} {said}")

    def delete(self, branch: str, expected_tip: str) -> bool:
        """Delete the branch while it stands at ``expected_tip``; False when it does not."""
        return self._transaction(f"delete {_head(branch)} {checked_sha(expected_tip)}")

    def _transaction(self, *commands: str) -> bool:
        script = "\n".join(("start", *commands, "prepare", "commit", ""))
        answer = self._run("update-ref", "--no-deref", "--stdin", stdin=script.encode(), accept=range(256))
        if answer.code != 0 and _in_the_way(answer):
            raise TransientError(
                f"a ref of {self.path} is locked: {answer.errors.splitlines()[0]}",
                remedy="when no git runs there, a crash of the machine left the lock file: remove it",
            )
        if answer.code != 0 and "cannot lock ref" not in answer.errors:
            raise PermanentError(f"git update-ref failed in {self.path}: {answer.errors}")
        return answer.code == 0

    def _is_commit(self, sha: str) -> bool:
        return self._run("cat-file", "-t", sha).text == "commit"

    def _resolve(self, ref: str) -> str | None:
        return self._run("rev-parse", "--verify", "--quiet", "--end-of-options", ref, accept=(0, 1)).text or None

    def _run(self, *arguments: str, stdin: bytes = b"", accept: tuple[int, ...] | range = (0,)) -> Answer:
        if not (self.path / "HEAD").is_file():
            raise ConfigurationError(
                f"there is no git repository at {self.path}",
                remedy="set `repository` of the project in orchestrator.yml; `orch init` makes one for the local forge",
            )
        return self._git.run(self.path, *arguments, stdin=stdin, accept=accept)


def _in_the_way(answer: Answer) -> bool:
    return ".lock': File exists" in answer.errors or "No space left on device" in answer.errors


def _head(branch: str) -> str:
    return f"refs/heads/{checked_branch(branch)}"


def _end(number: int) -> str:
    return f"{_OURS}/pulls/{number:d}/end"
