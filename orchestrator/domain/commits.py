"""Values of git: a commit as history shows it, and a merge that was built or could not be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MergeCandidate:
    """A merge of head and base, built but not published. ``commit_sha`` descends from both."""

    commit_sha: str
    tree_sha: str
    base_sha: str
    head_sha: str


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """The merge cannot be built by a machine. ``files`` are the paths in conflict."""

    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """A commit as history shows it."""

    sha: str
    parents: tuple[str, ...]
    tree: str
    message: str
