"""What stands in the mirror's commits. Every method fetches first when a commit is not here yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.adapters.git.mirror import Mirror
from orchestrator.adapters.git.names import checked_sha
from orchestrator.domain.errors import PermanentError
from orchestrator.ports import CommitRecord

_REGULAR: Final = ("100644", "100755")
# What a repository's attributes or an agent's configuration could hide or run is turned off.
_PLAIN: Final = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--ignore-submodules=none")


class Reading:
    """The reading half of ``Workspaces``."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def read_file(self, sha: str, path: str) -> bytes | None:
        """Content of a regular file in a commit; None for anything else that stands there, or nothing."""
        self._mirror.need(sha)
        rows = self._mirror.run("ls-tree", "-z", "--full-tree", checked_sha(sha), "--", path).names
        for row in rows:
            described, _tab, name = row.partition("\t")
            mode, _kind, blob = described.split()
            if name == path and mode in _REGULAR:
                return self._mirror.run("cat-file", "blob", blob).output
        return None

    def list_files(self, sha: str) -> Sequence[str]:
        """Paths of all files of a commit, submodules too."""
        self._mirror.need(sha)
        return self._mirror.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", checked_sha(sha)).names

    def tree_of(self, sha: str) -> str:
        self._mirror.need(sha)
        return self._mirror.tree_of(sha)

    def changed_files(self, base: str, head: str) -> Sequence[str]:
        """Paths changed from the merge base of both to ``head``; both names of a renamed file."""
        start = self._merge_base(base, head)
        return self._mirror.run("diff-tree", "-r", "-z", "--name-only", *_PLAIN, start, head, "--").names

    def diff(self, base: str, head: str, paths: Sequence[str] = ()) -> str:
        """Unified diff from the merge base of both to ``head``; ``paths`` are names, not patterns."""
        start = self._merge_base(base, head)
        answer = self._mirror.run("diff-tree", "-r", "-p", *_PLAIN, start, head, "--", *paths)
        return answer.output.decode("utf-8", "replace")

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        self._mirror.need(ancestor, descendant)
        return self._mirror.is_ancestor(ancestor, descendant)

    def commit_message(self, sha: str) -> str:
        self._mirror.need(sha)
        raw = self._mirror.run("cat-file", "commit", checked_sha(sha)).output
        return raw.partition(b"\n\n")[2].decode("utf-8", "replace")

    def first_parents(self, tip: str, limit: int) -> Sequence[tuple[str, tuple[str, ...]]]:
        """(sha, its parents) along first parents from ``tip``, newest first."""
        self._mirror.need(tip)
        arguments = ("log", "--first-parent", f"--max-count={limit}", "--format=%H %P", checked_sha(tip), "--")
        rows = (line.split() for line in self._mirror.run(*arguments).text.splitlines())
        return [(row[0], tuple(row[1:])) for row in rows]

    def history(self, tip: str, limit: int) -> Sequence[CommitRecord]:
        """The commits along first parents from ``tip``, newest first."""
        self._mirror.need(tip)
        arguments = ("log", "-z", "--first-parent", f"--max-count={limit}", "--format=%H%n%P%n%T%n%B")
        raw = self._mirror.run(*arguments, checked_sha(tip), "--").output.decode("utf-8", "replace")
        return [_record(one) for one in raw.split("\0") if one]

    def _merge_base(self, base: str, head: str) -> str:
        self._mirror.need(base, head)
        found = self._mirror.run("merge-base", checked_sha(base), checked_sha(head), accept=(0, 1)).text
        if not found:
            raise PermanentError(
                f"{base} and {head} have no common history", remedy="the branch must begin at the base branch"
            )
        return found


def _record(text: str) -> CommitRecord:
    sha, parents, tree, message = text.split("\n", 3)
    return CommitRecord(sha, tuple(parents.split()), tree, message)
