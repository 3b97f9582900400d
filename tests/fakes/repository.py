"""A git remote in memory: commits, and branches that only move as the fakes let them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Commit:
    """``files`` are all files of the commit."""

    parents: tuple[str, ...]
    files: Mapping[str, bytes]
    message: str

    @property
    def tree(self) -> str:
        return _sha("tree", *(f"{path}\0{content!r}" for path, content in sorted(self.files.items())))

    @property
    def sha(self) -> str:
        return _sha("commit", *self.parents, self.tree, self.message)


def _sha(*parts: str) -> str:
    return hashlib.sha1("\n".join(parts).encode()).hexdigest()


@dataclass
class Remote:
    """What the forge holds. ``commit`` is what people and agents push, past every guard of ours."""

    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    _pushed: int = 0

    def add(self, commit: Commit) -> str:
        self.commits[commit.sha] = commit
        return commit.sha

    def commit(self, branch: str, base: str = "main", files: Mapping[str, bytes] | None = None) -> str:
        """Push one commit to ``branch``, made from ``base`` when it is new."""
        self._pushed += 1
        parent = self.branches.get(branch) or self.branches.get(base)
        before = self.commits[parent].files if parent else {}
        changed = files if files is not None else {f"{branch}/{self._pushed}.txt": b"work"}
        made = Commit((parent,) if parent else (), {**before, **changed}, f"change {self._pushed}")
        self.branches[branch] = self.add(made)
        return made.sha

    def history(self, sha: str) -> Iterator[str]:
        """``sha`` and all that it descends from."""
        seen, waiting = set(), [sha]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                yield one
                waiting.extend(self.commits[one].parents)

    def has(self, ancestor: str, descendant: str) -> bool:
        return ancestor in set(self.history(descendant))
