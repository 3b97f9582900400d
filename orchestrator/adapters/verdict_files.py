"""The verdict file of a worktree: made ready before a run, read after it.

An agent owns the worktree and may have put anything there: links, pipes, directories, huge files. Nothing here
follows a link that an agent could have laid, and nothing is read that is not a regular file of sane size.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Final

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.verdicts import MAX_BYTES, RUN_ID_PATH, VERDICT_PATH, InvalidVerdict, Verdict, parse

_DIRECTORY: Final = Path(VERDICT_PATH).parent.name
_VERDICT: Final = Path(VERDICT_PATH).name
_RUN: Final = Path(RUN_ID_PATH).name
_EXCLUDE: Final = f"/{_DIRECTORY}/"


def prepare(worktree: Path, run_id: str) -> None:
    """Before a run: whatever verdict lies there is deleted, the run id is left for ``orch verdict put``, and git
    ignores both. Never call it while an agent runs in the worktree: it would delete that agent's answer."""
    directory = worktree / _DIRECTORY
    if directory.is_symlink() or not directory.is_dir():
        directory.unlink(missing_ok=True)
    else:
        shutil.rmtree(directory)
    directory.mkdir(mode=0o700)
    write_in_place(directory, _RUN, json.dumps({"run_id": run_id}).encode())
    _exclude_from_git(worktree)


def read(worktree: Path, run_id: str) -> Verdict | InvalidVerdict:
    """After a run and its sweep: the verdict of that run, or what is wrong with what lies there."""
    raw = _read_raw(worktree)
    if isinstance(raw, InvalidVerdict):
        return raw
    verdict = parse(raw, run_id)
    if isinstance(verdict, InvalidVerdict):
        return verdict
    errors = artifact_errors(worktree, verdict)
    return InvalidVerdict(errors) if errors else verdict


def artifact_errors(worktree: Path, verdict: Verdict) -> tuple[str, ...]:
    """A line for each artifact that does not exist, or that a link leads out of the worktree."""
    root, errors = worktree.resolve(), []
    for index, artifact in enumerate(verdict.artifacts):
        try:
            found = (root / artifact.path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing, a loop of links, a name no file can have
            errors.append(f"$.artifacts[{index}].path: {artifact.path!r} does not exist in the worktree")
            continue
        if not found.is_relative_to(root):
            errors.append(f"$.artifacts[{index}].path: {artifact.path!r} leads out of the worktree")
    return tuple(errors)


def write_in_place(directory: Path, name: str, content: bytes) -> None:
    """Put ``content`` at ``directory/name`` so that a reader and a power cut see all of it or what was there."""
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    temporary = f".{name}.{os.getpid()}.tmp"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=at)
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
        os.fsync(at)
    finally:
        os.close(at)


def _read_raw(worktree: Path) -> bytes | InvalidVerdict:
    """Neither the directory nor the file may be a link; a pipe must not hold us up (O_NONBLOCK)."""
    try:
        at = os.open(worktree / _DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        return InvalidVerdict((f"$: there is no verdict: {_DIRECTORY}: {error.strerror}",))
    try:
        fd = os.open(_VERDICT, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except FileNotFoundError:
        return InvalidVerdict((f"$: there is no verdict: {VERDICT_PATH} was not written",))
    except OSError as error:
        return InvalidVerdict((f"$: {VERDICT_PATH} is not a regular file: {error.strerror}",))
    finally:
        os.close(at)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return InvalidVerdict((f"$: {VERDICT_PATH} is not a regular file",))
        return _read_at_most(fd, MAX_BYTES + 1)
    finally:
        os.close(fd)


def _read_at_most(fd: int, limit: int) -> bytes:
    content = b""
    while len(content) < limit and (chunk := os.read(fd, limit - len(content))):
        content += chunk
    return content


def _exclude_from_git(worktree: Path) -> None:
    """In ``info/exclude`` of the repository, which all its worktrees share: a line twice does no harm."""
    if not (worktree / ".git").exists():
        return
    exclude = worktree / _git_path(worktree, "info/exclude")
    exclude.parent.mkdir(parents=True, exist_ok=True)
    present = exclude.read_text(encoding="utf-8", errors="replace") if exclude.exists() else ""
    if _EXCLUDE not in present.splitlines():
        with exclude.open("a", encoding="utf-8") as file:
            file.write(f"{'' if not present or present.endswith(chr(10)) else chr(10)}{_EXCLUDE}\n")


def _git_path(worktree: Path, name: str) -> str:
    """Hooks and fsmonitor off: the repository's configuration is the agent's to write."""
    found = subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "rev-parse", "--git-path", name],
        cwd=worktree,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if found.returncode:
        raise PermanentError(f"git cannot read {worktree}: {found.stderr.strip()}")
    return found.stdout.removesuffix("\n")
