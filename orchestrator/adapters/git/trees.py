"""Folders with the files of a commit: the worktree of a task, and throw-away checkouts.

Each is a repository of its own that borrows the mirror's objects (``objects/info/alternates``), not a linked
worktree: linked ones share configuration and hooks with the mirror, so that what an agent writes there would be
obeyed by our next git call (docs/decisions/0002). It names no remote, so there is nothing to push to.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.git.mirror import EXCLUDED
from orchestrator.adapters.git.runner import Git
from orchestrator.domain.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Identity:
    """Who commits for the orchestrator."""

    name: str = "orchestrator"
    email: str = "orchestrator@localhost"


class Trees:
    """Makes folders with the files of commits whose objects stand in ``objects`` (that of the mirror)."""

    def __init__(self, git: Git, objects: Path, identity: Identity) -> None:
        self._git = git
        self._objects = objects
        self._identity = identity

    def plant(self, folder: Path, sha: str, *, branch: str = "", known: Mapping[str, str] | None = None) -> None:
        """Make ``folder`` hold exactly the files of ``sha`` (what the repository ignores may stay), with a fresh
        ``.git``: on ``branch`` or detached, ``known`` as branches of origin. Repeating it after a crash at any point
        gives the same."""
        try:
            self._plant(folder, sha, branch, known or {})
        except (PermanentError, OSError):
            # Files that cannot be overwritten or removed (an agent took the rights away): begin with nothing.
            discard(folder)
            self._plant(folder, sha, branch, known or {})

    def _plant(self, folder: Path, sha: str, branch: str, known: Mapping[str, str]) -> None:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            folder.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        # Whatever an agent configured goes with it.
        discard(folder / ".git")
        fresh = folder / ".git.new"
        discard(fresh)
        self._write_repository(fresh, sha, branch, known)
        # Whole or not there: a half-made one is never taken for a repository.
        fresh.rename(folder / ".git")
        self._run(folder, "reset", "--quiet", "--hard", sha)
        # -ff: also repositories that an agent made inside. Not -x: caches of builds may stay.
        self._run(folder, "clean", "-ffdq")

    def put_back(self, folder: Path, name: str, sha: str | None) -> None:
        """Make ``name`` in a planted ``folder`` what it is in ``sha``; None: not there. Ignored files go as well."""
        discard(folder / name)
        if sha is not None:
            self._run(folder, "checkout", "--quiet", sha, "--", name)

    def _run(self, folder: Path, *arguments: str) -> None:
        # The configuration that git reads here is the one written a moment ago.
        self._git.run(folder / ".git", *arguments, extra={"GIT_WORK_TREE": str(folder)})

    def _write_repository(self, git: Path, sha: str, branch: str, known: Mapping[str, str]) -> None:
        """The files of a repository (gitrepository-layout(5)), without a git call that could end half way."""
        files = {
            "HEAD": f"ref: refs/heads/{branch}\n" if branch else f"{sha}\n",
            **self.obeyed(),
            **({f"refs/heads/{branch}": f"{sha}\n"} if branch else {}),
            **{f"refs/remotes/origin/{name}": f"{tip}\n" for name, tip in known.items()},
        }
        (git / "refs" / "heads").mkdir(parents=True)
        # Empty, and there: a sandbox can keep only what exists from being written.
        (git / "hooks").mkdir()
        for name, content in files.items():
            file = git / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    def obeyed(self) -> Mapping[str, str]:
        """What git obeys in a planted repository: content by name below ``.git``; it has no hooks."""
        return {
            "config": _config(self._identity),
            "info/exclude": EXCLUDED,
            "objects/info/alternates": f"{self._objects}\n",
        }

    @contextlib.contextmanager
    def throw_away(self, root: Path, sha: str) -> Iterator[Path]:
        """A checkout at ``sha``, removed at exit; those that a killed process left behind are removed first."""
        root.mkdir(parents=True, exist_ok=True)
        _sweep_checkouts(root)
        name = uuid.uuid4().hex[:16]
        keeper, unheld = root / f"{name}.lock", root / f"{name}.new"
        descriptor = os.open(unheld, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Locked before it has the name that a sweep looks for.
            unheld.rename(keeper)
            self.plant(root / name, sha)
            yield root / name
        finally:
            discard(root / name)
            keeper.unlink(missing_ok=True)
            os.close(descriptor)


def _config(identity: Identity) -> str:
    name, email = (value.replace("\\", r"\\").replace('"', r"\"") for value in (identity.name, identity.email))
    return (
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n"
        f'[user]\n\tname = "{name}"\n\temail = "{email}"\n'
    )


def discard(path: Path) -> None:
    """Remove a file, link or folder of any content and rights. Gone already is success."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    if not path.exists():
        return
    # Away from its name first: a crash in the middle must not leave half a worktree under it.
    grave = path.with_name(f".discarded-{uuid.uuid4().hex}")
    path.rename(grave)
    shutil.rmtree(grave, onerror=_with_rights)


def _with_rights(function: Callable[[str], object], name: str, _error: object) -> None:
    """Give the rights back that an agent took away, then try once more."""
    for path in (Path(name).parent, Path(name)):
        with contextlib.suppress(OSError):
            path.chmod(path.stat(follow_symlinks=False).st_mode | stat.S_IRWXU)
    if function in (os.scandir, os.open, os.lstat):
        shutil.rmtree(name, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            function(name)


def sweep_graves(folder: Path) -> None:
    """Finish removals that a crash interrupted."""
    for grave in folder.glob(".discarded-*"):
        shutil.rmtree(grave, onerror=_with_rights)


def _sweep_checkouts(root: Path) -> None:
    """A checkout lives as long as somebody holds its lock."""
    sweep_graves(root)
    for keeper in root.glob("*.lock"):
        with contextlib.suppress(OSError):
            descriptor = os.open(keeper, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                discard(keeper.with_suffix(""))
                keeper.unlink(missing_ok=True)
            finally:
                os.close(descriptor)
