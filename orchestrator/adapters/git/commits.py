"""Commits that the orchestrator itself makes: what an agent left, a merge, a head to move a branch aside."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orchestrator.adapters.git.mirror import Mirror
from orchestrator.adapters.git.names import checked_sha
from orchestrator.adapters.git.trees import Identity
from orchestrator.domain.errors import PermanentError
from orchestrator.ports import MergeCandidate, MergeConflict

_CONFLICTS: Final = 1


class Commits:
    """Writes objects into the mirror. Objects alone change nothing, so only ``of_worktree`` needs its lock."""

    def __init__(self, mirror: Mirror, identity: Identity) -> None:
        self._mirror = mirror
        self._identity = identity

    def of_worktree(self, folder: Path, known_tip: str, message: str, lock: int) -> str:
        """A commit of all files in ``folder`` on top of what the agent committed there, or of ``known_tip`` when the
        agent's history does not go on from it. No new commit when there is nothing to add."""
        left = self._mirror.import_head(folder / ".git", lock)
        parent = left if left is not None and self._mirror.is_ancestor(known_tip, left) else known_tip
        tree = self._tree_of_files(folder, parent, lock)
        if tree == self._mirror.tree_of(parent):
            return parent
        return self._commit(tree, (parent,), message)

    def merge(self, head: str, base: str, message: str) -> MergeCandidate | MergeConflict:
        """The merge of ``head`` into ``base``, first parent ``base``. The same inputs give the same commit."""
        merged = self._mirror.run(
            *("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z"),
            *(checked_sha(base), checked_sha(head)),
            accept=(0, _CONFLICTS),
        )
        tree, *files = merged.names
        if merged.code == _CONFLICTS:
            return MergeConflict(tuple(dict.fromkeys(files)))
        # Not the time of now: a successor that builds it again must get the same SHA and so recognise it.
        moment = max(self._committed_at(base), self._committed_at(head))
        sha = self._commit(tree, (base, head), message, moment=moment)
        return MergeCandidate(commit_sha=sha, tree_sha=tree, base_sha=base, head_sha=head)

    def aside(self, tip: str) -> str:
        """An empty commit on ``tip`` that no other call ever makes."""
        message = f"Withdraw {tip[:12]}\n\nNothing may merge this branch at its former head.\n\n{uuid.uuid4()}\n"
        return self._commit(self._mirror.tree_of(tip), (tip,), message)

    def _commit(self, tree: str, parents: tuple[str, ...], message: str, *, moment: int | None = None) -> str:
        arguments = [word for parent in parents for word in ("-p", checked_sha(parent))]
        when = {} if moment is None else {"GIT_AUTHOR_DATE": f"{moment} +0000", "GIT_COMMITTER_DATE": f"{moment} +0000"}
        answer = self._mirror.run(
            *("commit-tree", *arguments, "-F", "-", tree),
            stdin=message.encode("utf-8", "replace"),
            extra={**self._signature(), **when},
        )
        return checked_sha(answer.text)

    def _signature(self) -> Mapping[str, str]:
        return {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", self._identity.name), ("EMAIL", self._identity.email))
        }

    def _committed_at(self, sha: str) -> int:
        return int(self._mirror.run("log", "--max-count=1", "--format=%ct", checked_sha(sha), "--").text)

    def _tree_of_files(self, folder: Path, parent: str, lock: int) -> str:
        with self._own_index() as extra:
            self._mirror.run("read-tree", checked_sha(parent), extra=extra, lock=lock)
            try:
                # The mirror's configuration decides here, not that of the agent's repository: no filter of its runs.
                self._mirror.run("add", "--all", extra={**extra, "GIT_WORK_TREE": str(folder)}, lock=lock)
            except PermanentError as error:
                raise PermanentError(
                    f"cannot commit what was left in {folder}: {error.message}",
                    remedy="mend or remove the file that git names, then retry the item",
                ) from error
            return checked_sha(self._mirror.run("write-tree", extra=extra, lock=lock).text)

    @contextmanager
    def _own_index(self) -> Iterator[Mapping[str, str]]:
        """An index of this call alone: one that stands in the worktree could be an agent's."""
        index = self._mirror.path / f"index-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            yield {"GIT_INDEX_FILE": str(index)}
        finally:
            index.unlink(missing_ok=True)
            index.with_name(f"{index.name}.lock").unlink(missing_ok=True)
