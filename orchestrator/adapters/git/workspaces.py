"""``ports.Workspaces`` by the git binary."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from orchestrator.adapters.git import tampering
from orchestrator.adapters.git.commits import Commits
from orchestrator.adapters.git.mirror import Mirror
from orchestrator.adapters.git.names import branch_of, checked_branch, checked_project, checked_sha, folder_of
from orchestrator.adapters.git.reading import Reading
from orchestrator.adapters.git.runner import Answer, Git, remote_error
from orchestrator.adapters.git.trees import Identity, Trees, discard, sweep_graves
from orchestrator.domain.errors import LostRaceError, NotFoundError, PermanentError, UsageError
from orchestrator.ports import MergeCandidate, MergeConflict
from orchestrator.secret import without_passwords


class GitWorkspaces(Reading):
    """One project's mirror, worktrees and checkouts under ``base_dir``, for the repository at ``remote_url``.

    ``environment`` gives PATH, HOME, proxies and the credentials of the orchestrator's own git; it is asked at each
    call, so that a renewed token works at once. Safe to use from several processes and threads.
    """

    def __init__(
        self,
        base_dir: Path,
        project: str,
        remote_url: str,
        base_branch: str,
        environment: Callable[[], Mapping[str, str]],
        identity: Identity = Identity(),  # noqa: B008  # a frozen value
    ) -> None:
        root = Path(os.path.abspath(base_dir))  # noqa: PTH100  # keeps the operator's own spelling of the path
        key = checked_project(project)
        git = Git(environment)
        super().__init__(Mirror(root / "mirrors" / f"{key}.git", _checked_url(remote_url), git))
        self._base_branch = checked_branch(base_branch)
        self._worktrees = root / "worktrees" / key
        self._checkouts = root / "checkouts" / key
        self._commits = Commits(self._mirror, identity)
        self._trees = Trees(git, self._mirror.path / "objects", identity)

    # --- the remote ------------------------------------------------------------------------------------------

    def fetch(self) -> None:
        """Bring the mirror up to date. Raises TransientError when the remote cannot be reached."""
        with self._mirror.locked() as lock:
            self._mirror.fetch(lock)

    def base_tip(self) -> str:
        """Current tip of the base branch at the remote. Raises PermanentError when it has no such branch."""
        return self._mirror.tip_at_remote(self._base_branch) or self._no_base()

    def branch_tip(self, branch: str) -> str | None:
        return self._mirror.tip_at_remote(branch)

    def branches(self) -> Mapping[str, str]:
        """Every branch at the forge now, with its tip."""
        return self._mirror.tips_at_remote()

    def publish(self, branch: str, new: str, expected_old: str | None) -> None:
        """Push ``new`` to ``branch`` while it stands at ``expected_old`` (None: does not exist), as a fast-forward.

        Raises LostRaceError when the branch moved, PermanentError when it is no fast-forward or the remote refuses
        for good, TransientError when nobody can tell. Repeating it after success is harmless.
        """
        self._not_the_base(branch)
        tip = self._mirror.tip_at_remote(branch)
        if tip == checked_sha(new):
            return
        if tip != expected_old:
            raise _moved(branch, expected_old, tip)
        if expected_old is not None and not self.is_ancestor(expected_old, new):
            raise PermanentError(f"{new} does not descend from {expected_old}: {branch} only moves forward")
        # Point of no return. Its answer is not believed: the branch is read again.
        answer = self._mirror.push(new, branch, expected_old)
        self._settle(branch, new, expected_old, answer)

    def _settle(self, branch: str, new: str, expected_old: str | None, answer: Answer) -> None:
        tip = self._mirror.tip_at_remote(branch)
        if tip == new:
            return
        # Taken, and moved on by somebody since, or another one's push came first: both are a lost race.
        if tip != expected_old or answer.code == 0:
            raise _moved(branch, expected_old, tip)
        if "[remote rejected]" in answer.text:
            place = without_passwords(self._mirror.url)
            said = f"{answer.errors}\n{answer.text}"
            raise PermanentError(f"{place} refused the push to {branch}: {said}", remedy="see the rules of the forge")
        raise remote_error(self._mirror.url, answer)

    def move_aside(self, branch: str, expected_old: str) -> str:
        """Give ``branch`` a head it never had, while it stands at ``expected_old``; the new head.

        Raises as ``publish`` does. Not to be repeated after an unclear end: look where the branch stands.
        """
        self._mirror.need(expected_old)
        head = self._commits.aside(expected_old)
        self.publish(branch, head, expected_old)
        return head

    # --- the worktree of a task ------------------------------------------------------------------------------

    def prepare(self, branch: str, from_base: Sequence[str] = ()) -> Path:
        """The worktree on ``branch``, clean, at the remote's tip; at that of the base branch when it is new there.
        Files and folders in ``from_base`` are those of the base branch, where the branch left it.

        Repeating it is harmless and mends what a crash or an agent left; what was not published is gone.
        """
        self._not_the_base(branch)
        folder = self.path_of(branch)
        with self._mirror.locked() as lock:
            self._mirror.fetch(lock)
            base = self._mirror.fetched_tip(self._base_branch) or self._no_base()
            start = self._mirror.fetched_tip(branch) or base
            sweep_graves(self._worktrees)
            self._mirror.set_local(branch, start, lock)
            self._trees.plant(folder, start, branch=branch, known={self._base_branch: base})
            begun = self._merge_base(base, start)
            for name in from_base:
                there = self._mirror.run("ls-tree", "--full-tree", begun, "--", name).text
                self._trees.put_back(folder, name, begun if there else None)
        return folder

    def path_of(self, branch: str) -> Path:
        return self._worktrees / folder_of(branch)

    def commit_all(self, branch: str, message: str) -> str:
        """Commit what the agent left in the worktree; the head (unchanged when nothing was left).

        Raises NotFoundError without a worktree. Repeating it after success gives the same head.
        """
        folder = self.path_of(branch)
        with self._mirror.locked() as lock:
            tip = self._mirror.local_tip(branch)
            if tip is None or not self.exists(branch):
                raise NotFoundError(f"there is no worktree of {branch} on this node", remedy="prepare it first")
            head = self._commits.of_worktree(folder, tip, message, lock)
            self._mirror.set_local(branch, head, lock)
        return head

    def changes_of_git(self, branch: str) -> Sequence[str]:
        """A line for each thing that was changed in the worktree's configuration, hooks and the like since ``prepare``.
        None of it is obeyed here. Raises PermanentError when git cannot tell."""
        folder = self.path_of(branch)
        return tampering.changes(self._mirror, folder / ".git", self._trees.obeyed()) if folder.is_dir() else ()

    def remove(self, branch: str) -> None:
        """Remove the worktree and the local branch. Gone already is success."""
        self.remove_if(branch, lambda: True)

    def remove_if(self, branch: str, unused: Callable[[], bool]) -> bool:
        """As ``remove``, if ``unused`` says so while nobody can ``prepare`` here; whether it was removed."""
        folder = self.path_of(branch)
        with self._mirror.locked() as lock:
            if not unused():
                return False
            discard(folder)
            sweep_graves(self._worktrees)
            self._mirror.delete_local(branch, lock)
        return True

    def exists(self, branch: str) -> bool:
        return self.path_of(branch).is_dir()

    def worktrees(self) -> Sequence[str]:
        """Branches that have a worktree on this node."""
        if not self._worktrees.is_dir():
            return []
        return sorted(branch_of(one.name) for one in self._worktrees.iterdir() if not one.name.startswith("."))

    # --- merges ----------------------------------------------------------------------------------------------

    def build_merge(self, head: str, base: str, message: str) -> MergeCandidate | MergeConflict:
        """The merge of ``head`` into ``base`` as a commit that is published nowhere. Needs no lock."""
        self._mirror.need(head, base)
        return self._commits.merge(head, base, message)

    def checkout(self, sha: str) -> AbstractContextManager[Path]:
        """A throw-away folder with the files of ``sha``; removed at exit, or by the next one after a kill."""
        self._mirror.need(sha)
        return self._trees.throw_away(self._checkouts, sha)

    def _not_the_base(self, branch: str) -> None:
        if checked_branch(branch) == self._base_branch:
            raise UsageError(f"{branch} is the base branch: only the merge effect moves it, through the forge")

    def _no_base(self) -> str:
        raise PermanentError(
            f"{without_passwords(self._mirror.url)} has no branch {self._base_branch}",
            remedy="set `base_branch` of the project in orchestrator.yml, or push a first commit",
        )


def _moved(branch: str, expected: str | None, found: str | None) -> LostRaceError:
    return LostRaceError(f"{branch} stands at {found or 'nothing'}, not at {expected or 'nothing'}")


def _checked_url(url: str) -> str:
    if not url or url.startswith("-"):
        raise UsageError(f"{url!r} is not the address of a repository")
    return url
