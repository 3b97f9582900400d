"""A sandbox of bubblewrap for one agent run: it sees the system, its worktree and its own directory, and nothing else
of this machine's account; it writes in the last two only.

Without the sandbox an agent is a process of the same user: what that user may read, it may read. ``docs/security.md``
says which attempt fails only inside.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import orchestrator
from orchestrator.domain.configuration import Sandbox
from orchestrator.domain.errors import ConfigurationError
from orchestrator.ports import AgentRequest

PROGRAM: Final = "bwrap"
_PROBE_S: Final = 10.0
_ALONE: Final = (
    "--die-with-parent",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--cap-drop",
    "ALL",
)
"""The network stays: an agent needs its provider. What must not be reached there asks for a password."""

_SYSTEM_HIDDEN: Final = ("/tmp", "/var/tmp", "/run", "/home", "/root", "/mnt", "/media", "/srv")  # noqa: S108  # hidden
_RESOLVER: Final = Path("/etc/resolv.conf")
_GIT_FROZEN: Final = ("config", "hooks", "info", "objects/info")
"""What git runs or obeys on its own: an agent commits, it changes neither hooks nor configuration."""


@dataclass(frozen=True, slots=True)
class SandboxProfile:
    """What a run sees beside the bare system. ``hidden`` directories are empty for it, ``masked`` files too."""

    hidden: tuple[Path, ...]
    masked: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    frozen: tuple[Path, ...] = ()

    def arguments(self) -> tuple[str, ...]:
        """bubblewrap's own arguments. Order matters: what comes later lies on top."""
        words: list[str] = [*_ALONE, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
        for directory in _outermost(self.hidden):
            words += ["--tmpfs", str(directory)]
        for file in self.masked:
            words += ["--ro-bind-try", "/dev/null", str(file)]
        for path in self.readable:
            words += ["--ro-bind-try", str(path), str(path)]
        for path in self.writable:
            words += ["--bind", str(path), str(path)]
        for path in self.frozen:
            words += ["--ro-bind-try", str(path), str(path)]
        return tuple(words)


def _outermost(directories: Iterable[Path]) -> Iterator[Path]:
    """Existing ones, without those that lie below another: one empty directory hides all that is in it."""
    kept: list[Path] = []
    for one in sorted({one.resolve() for one in directories if one.is_dir()}):
        if not any(one.is_relative_to(above) for above in kept):
            kept.append(one)
            yield one


@cache
def problem() -> str:
    """Why there can be no sandbox on this machine; empty when there can. Tried once a process."""
    program = shutil.which(PROGRAM)
    if program is None:
        return f"{PROGRAM} is not installed (package bubblewrap)"
    try:
        tried = subprocess.run(
            [program, *_ALONE, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"],
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not start: {error}"
    return "" if tried.returncode == 0 else f"{program} cannot be used here: {tried.stderr.strip()}"


class Sandboxes:
    """Makes the sandbox of a run. ``own``: directories of the orchestrator (its data, its sockets); ``secrets`` names
    files that no agent may read, asked at each start: a configuration may have changed. An agent gets the value of
    its own key, never the file."""

    def __init__(self, own: Sequence[Path], secrets: Callable[[], Iterable[Path]] = tuple) -> None:
        self._own, self._secrets = tuple(own), secrets

    def around(self, request: AgentRequest, argv: Sequence[str], search_path: str) -> tuple[str, ...]:
        """``argv`` in the sandbox that the configuration asks for; ``argv`` itself where there is to be none.

        Raises ConfigurationError when a sandbox is required and cannot be had.
        """
        mode = request.spec.sandbox
        if mode is Sandbox.OFF or (mode is Sandbox.PREFERRED and problem()):
            return tuple(argv)
        if problem():
            raise ConfigurationError(
                f"agents.{request.stage}.sandbox: is required, and {problem()}",
                remedy="install bubblewrap and allow user namespaces, or choose `preferred`",
            )
        profile = self._profile(request, argv, search_path)
        return (PROGRAM, *profile.arguments(), "--chdir", str(request.worktree), "--", *argv)

    def _profile(self, request: AgentRequest, argv: Sequence[str], search_path: str) -> SandboxProfile:
        git = request.worktree / ".git"
        return SandboxProfile(
            hidden=(*map(Path, _SYSTEM_HIDDEN), _home(), *self._own),
            masked=tuple(one.resolve() for one in self._secrets() if one.is_file()),
            readable=(
                *_installation(),
                *_program(argv, search_path),
                *_borrowed(git),
                *_resolver(),
                *(Path(one).expanduser() for one in request.spec.sandbox_readable),
            ),
            # The repository is a mount of its own: so it cannot be moved away, and with it what is frozen in it.
            writable=(request.worktree, *_repository(git), *(request.run_dir / name for name in ("home", "tmp"))),
            frozen=(request.run_dir / "bin", *(git / name for name in _GIT_FROZEN)),
        )


def _home() -> Path:
    return Path(pwd.getpwuid(os.getuid()).pw_dir)


def _installation() -> Iterator[Path]:
    """What ``orch verdict put`` needs to start, wherever this is installed."""
    yield from (Path(sys.prefix), Path(sys.base_prefix), Path(orchestrator.__file__).parent)


def _program(argv: Sequence[str], search_path: str) -> Iterator[Path]:
    """Where the CLI lies, and what it is a link to: often below somebody's home."""
    found = shutil.which(argv[0], path=search_path)
    if found is None:
        return
    for place in (Path(found).absolute(), Path(found).resolve()):
        packages = next((one for one in reversed(place.parents) if one.name == "node_modules"), None)
        if packages is not None:  # a package of npm needs those beside it: Codex's own program is one of them
            yield packages
        prefix = place.parent.parent
        wide = place.parent.name == "bin" and prefix not in (_home(), Path("/"))
        yield prefix if wide else place.parent


def _repository(git: Path) -> Iterator[Path]:
    if git.is_dir() and not git.is_symlink():
        yield git


def _borrowed(git: Path) -> Iterator[Path]:
    """Objects that the worktree's repository borrows from another one."""
    alternates = git / "objects" / "info" / "alternates"
    if alternates.is_file():
        yield from (Path(line) for line in alternates.read_text(encoding="utf-8").splitlines() if line)


def _resolver() -> Iterator[Path]:
    """Names of other machines are looked up by a file that often lies in a directory which is hidden."""
    if _RESOLVER.is_symlink():
        yield _RESOLVER.resolve()
