"""``ports.Workspaces`` in memory, for one node: it knows what it fetched and what it made."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.domain.errors import LostRaceError, NotFoundError, PermanentError, UsageError
from orchestrator.ports import CommitRecord, MergeCandidate, MergeConflict
from tests.fakes.repository import Commit, Remote
from tests.fakes.wire import Wire


class FakeWorkspaces:
    def __init__(self, remote: Remote, wire: Wire, base_branch: str = "main") -> None:
        self._remote = remote
        self._wire = wire
        self._base_branch = base_branch
        self._here = Remote()
        self._worktrees: set[str] = set()
        self._aside = 0

    def fetch(self) -> None:
        for tip in self._remote.branches.values():
            self._here.commits.update({sha: self._remote.commits[sha] for sha in self._remote.history(tip)})

    def base_tip(self) -> str:
        return self._remote.branches[self._base_branch]

    def branch_tip(self, branch: str) -> str | None:
        return self._remote.branches.get(branch)

    def publish(self, branch: str, new: str, expected_old: str | None) -> None:
        if branch == self._base_branch:
            raise UsageError(f"{branch} is the base branch")
        made = {sha: self._here.commits[sha] for sha in self._here.history(self._need(new).sha)}
        self._wire.send("publish", lambda: self._push("publish", branch, new, expected_old, made))

    def _push(self, method: str, branch: str, new: str, expected_old: str | None, made: dict[str, Commit]) -> None:
        tip = self._remote.branches.get(branch)
        if tip == new:
            return
        if tip != expected_old:
            raise LostRaceError(f"{branch} stands at {tip}, not at {expected_old}")
        self._remote.commits.update(made)
        if tip and not self._remote.has(tip, new):
            raise PermanentError(f"{branch} only moves forward")
        self._remote.branches[branch] = new
        self._wire.landed.append((method, new))

    def move_aside(self, branch: str, expected_old: str) -> str:
        self._aside += 1
        head = Commit((expected_old,), self._need(expected_old).files, f"Withdraw {self._aside}")
        self._here.add(head)
        made = {sha: self._here.commits[sha] for sha in self._here.history(head.sha)}
        self._wire.send("move_aside", lambda: self._push("move_aside", branch, head.sha, expected_old, made))
        return head.sha

    def prepare(self, branch: str, from_base: Sequence[str] = ()) -> Path:
        self._worktrees.add(branch)
        return self.path_of(branch)

    def path_of(self, branch: str) -> Path:
        return Path("/nowhere") / branch

    def changes_of_git(self, branch: str) -> Sequence[str]:
        return ()

    def commit_all(self, branch: str, message: str) -> str:
        raise NotImplementedError("no effect asks for it")

    def remove_if(self, branch: str, unused: Callable[[], bool]) -> bool:
        if not unused():
            return False
        self.remove(branch)
        return True

    def remove(self, branch: str) -> None:
        self._wire.send("remove", lambda: self._remove(branch))

    def _remove(self, branch: str) -> None:
        if branch in self._worktrees:
            self._worktrees.remove(branch)
            self._wire.landed.append(("remove", branch))

    def exists(self, branch: str) -> bool:
        return branch in self._worktrees

    def worktrees(self) -> Sequence[str]:
        return sorted(self._worktrees)

    def build_merge(self, head: str, base: str, message: str) -> MergeCandidate | MergeConflict:
        files = {**self._need(base).files, **self._need(head).files}
        merged = Commit((base, head), files, message)
        self._here.add(merged)
        return MergeCandidate(commit_sha=merged.sha, tree_sha=merged.tree, base_sha=base, head_sha=head)

    @contextmanager
    def checkout(self, sha: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            for path, content in self._need(sha).files.items():
                file = Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            yield Path(folder)

    def read_file(self, sha: str, path: str) -> bytes | None:
        return self._need(sha).files.get(path)

    def list_files(self, sha: str) -> Sequence[str]:
        return sorted(self._need(sha).files)

    def tree_of(self, sha: str) -> str:
        return self._need(sha).tree

    def changed_files(self, base: str, head: str) -> Sequence[str]:
        raise NotImplementedError("no effect asks for it")

    def diff(self, base: str, head: str, paths: Sequence[str] = ()) -> str:
        raise NotImplementedError("no effect asks for it")

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        return self._need(ancestor).sha in set(self._here.history(self._need(descendant).sha))

    def commit_message(self, sha: str) -> str:
        return self._need(sha).message

    def branches(self) -> Mapping[str, str]:
        return dict(self._remote.branches)

    def history(self, tip: str, limit: int) -> Sequence[CommitRecord]:
        found = [(sha, self._need(sha)) for sha, _parents in self.first_parents(tip, limit)]
        return [CommitRecord(sha, one.parents, one.tree, one.message) for sha, one in found]

    def first_parents(self, tip: str, limit: int) -> Sequence[tuple[str, tuple[str, ...]]]:
        found: list[tuple[str, tuple[str, ...]]] = []
        while tip and len(found) < limit:
            parents = self._need(tip).parents
            found.append((tip, parents))
            tip = parents[0] if parents else ""
        return found

    def _need(self, sha: str) -> Commit:
        if sha not in self._here.commits:
            self.fetch()
        if sha not in self._here.commits:
            raise NotFoundError(f"commit {sha} is on no branch")
        return self._here.commits[sha]
