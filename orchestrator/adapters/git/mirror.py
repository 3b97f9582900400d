"""The bare mirror of one repository on this node: the only repository whose configuration our git ever reads.

Agents work in repositories of their own that borrow its objects (see ``trees``), so nothing that they configure
is read here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.adapters.git.names import checked_branch, checked_sha
from orchestrator.adapters.git.runner import Answer, Git
from orchestrator.domain.errors import ConfigurationError, NotFoundError, TransientError

_LOCK_TIMEOUT_S: Final = 330.0  # a little more than the longest call that can hold it
_LOCK_POLL_S: Final = 0.05
_READY: Final = "orchestrator-ready"
_LOCAL: Final = "refs/heads/"
_REMOTE: Final = "refs/remotes/origin/"
EXCLUDED: Final = "/.orchestrator/\n"
"""Files of a run (prompt, verdict) are never committed."""


class Mirror:
    """Objects and refs of one remote: its branches under ``refs/remotes/origin``, ours under ``refs/heads``."""

    def __init__(self, path: Path, url: str, git: Git) -> None:
        self.path = path
        self.url = url
        self._git = git

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Exclusive right to change refs of the mirror and its worktrees; the descriptor that carries it.

        Git children inherit the descriptor: when we die by SIGKILL the lock stands until the last of them has
        ended, so a lock file of git that is seen under this lock has no owner and is removed.
        """
        _make(self.path.parent)
        descriptor = _open(self.path.with_suffix(".lock"))
        try:
            _wait_for_lock(descriptor, self.path)
            self._ensure(descriptor)
            yield descriptor
        finally:
            # Not LOCK_UN: that would free it for a child that still lives, too.
            os.close(descriptor)

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        extra: Mapping[str, str] | None = None,
        accept: Sequence[int] = (0,),
        lock: int | None = None,
    ) -> Answer:
        """A local git call on the mirror, which is made first when it is not there."""
        if lock is None and not (self.path / _READY).exists():
            with self.locked():
                pass
        inherit = () if lock is None else (lock,)
        return self._git.run(self.path, *arguments, stdin=stdin, extra=extra, accept=accept, inherit=inherit)

    def fetch(self, lock: int) -> None:
        """Bring all branches up to date. Raises TransientError, NeedsHumanError."""
        self._git.run(
            self.path,
            *("fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"),
            *("--end-of-options", self.url, f"+refs/heads/*:{_REMOTE}*"),
            remote=self.url,
            inherit=(lock,),
        )

    def tip_at_remote(self, branch: str) -> str | None:
        """Tip of ``branch`` at the remote now."""
        self.run("version")
        name = f"refs/heads/{checked_branch(branch)}"
        answer = self._git.run(self.path, "ls-remote", "--end-of-options", self.url, name, remote=self.url)
        rows = (line.split("\t") for line in answer.text.splitlines())
        return next((sha for sha, ref in rows if ref == name), None)

    def tips_at_remote(self) -> dict[str, str]:
        """Every branch at the remote now, with its tip."""
        self.run("version")
        answer = self._git.run(self.path, "ls-remote", "--heads", "--end-of-options", self.url, remote=self.url)
        rows = (line.split("\t") for line in answer.text.splitlines())
        return {ref.removeprefix("refs/heads/"): sha for sha, ref in rows}

    def push(self, new: str, branch: str, expected_old: str | None) -> Answer:
        """One conditional push; every exit code is accepted, since only a read tells what happened."""
        name = f"refs/heads/{checked_branch(branch)}"
        return self._git.run(
            self.path,
            *("push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"),
            # The only compare-and-swap that git has over the wire: the remote takes the new value only while it
            # has the old one. That it is a fast-forward has been checked before (docs/decisions/0003).
            f"--force-with-lease={name}:{expected_old or ''}",
            *("--end-of-options", self.url, f"{checked_sha(new)}:{name}"),
            remote=self.url,
            accept=range(256),
        )

    def fetched_tip(self, branch: str) -> str | None:
        return self._resolve(_REMOTE + checked_branch(branch))

    def local_tip(self, branch: str) -> str | None:
        return self._resolve(_LOCAL + checked_branch(branch))

    def set_local(self, branch: str, sha: str, lock: int) -> None:
        self.run("update-ref", "--no-deref", _LOCAL + checked_branch(branch), checked_sha(sha), lock=lock)

    def delete_local(self, branch: str, lock: int) -> None:
        self.run("update-ref", "--no-deref", "-d", _LOCAL + checked_branch(branch), lock=lock)

    def has(self, sha: str) -> bool:
        return self.run("cat-file", "-e", f"{checked_sha(sha)}^{{commit}}", accept=(0, 1, 128)).code == 0

    def need(self, *shas: str) -> None:
        """Fetch when one of ``shas`` is not here yet. Raises NotFoundError when it still is not."""
        if all(map(self.has, shas)):
            return
        with self.locked() as lock:
            self.fetch(lock)
        for sha in shas:
            if not self.has(sha):
                raise NotFoundError(f"commit {sha} is on no branch of {self.url}")

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Both must be here; see ``need``."""
        arguments = ("merge-base", "--is-ancestor", checked_sha(ancestor), checked_sha(descendant))
        return self.run(*arguments, accept=(0, 1)).code == 0

    def tree_of(self, sha: str) -> str:
        return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{checked_sha(sha)}^{{tree}}").text

    def import_head(self, repository: Path, lock: int) -> str | None:
        """HEAD of an agent's repository, with its objects copied here; None when it has none that can be read.

        Git promises that fetching from a repository that somebody else controls runs nothing of it. Credentials are
        not in the environment of a local call.
        """
        target = "refs/orchestrator/import"
        answer = self.run(
            *("-c", "fetch.fsckObjects=true", "-c", "maintenance.auto=false"),
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"),
            *("--end-of-options", str(repository), f"+HEAD:{target}"),
            accept=range(256),
            lock=lock,
        )
        return self._resolve(target) if answer.code == 0 else None

    def _resolve(self, ref: str) -> str | None:
        return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", ref, accept=(0, 1)).text or None

    def _ensure(self, lock: int) -> None:
        if (self.path / _READY).exists():
            _remove_stale_locks(self.path)
            return
        git = ("init", "--quiet", "--bare", "--template=", "--initial-branch=none")
        self._git.run(self.path, *git, inherit=(lock,))
        (self.path / "info").mkdir(exist_ok=True)
        (self.path / "info" / "exclude").write_text(EXCLUDED)
        (self.path / _READY).touch()


def _remove_stale_locks(path: Path) -> None:
    for name in ("HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock", "packed-refs.new", "gc.pid"):
        (path / name).unlink(missing_ok=True)
    for stale in (path / "refs").rglob("*.lock"):
        stale.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(place: Path, error: OSError) -> ConfigurationError:
    remedy = "set ORCH_DATA_DIR to a directory that this user may write"
    return ConfigurationError(f"cannot write {place}: {error.strerror}", remedy=remedy)


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _not_writable(file, error) from error


def _wait_for_lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TransientError(
                    f"{path} is locked by another process for {_LOCK_TIMEOUT_S:.0f} s",
                    remedy=f"find it with `fuser {path.with_suffix('.lock')}`",
                ) from None
            time.sleep(_LOCK_POLL_S)
