"""What an agent changed of its repository that git obeys: told as facts, obeyed by nobody.

Compared is what a planted worktree has (``trees``) with what stands there after a run. Values are not told: a header
or an address may hold a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from orchestrator.adapters.git.mirror import Mirror

_FILES: Final = ("info/exclude", "objects/info/alternates")
_STRANGE: Final = ("commondir", "config.worktree", "info/attributes", "info/grafts")
_LONGEST: Final = 256 * 1024
"""Bytes of a file that are looked at; one that is longer was changed, whatever it holds."""
_MOST: Final = 20


def changes(mirror: Mirror, git: Path, planted: Mapping[str, str]) -> tuple[str, ...]:
    """A line for each; ``planted``: content by name below ``git`` as it was made."""
    if git.is_symlink() or not git.is_dir():
        return (f".git is {'a link' if git.is_symlink() else 'no directory any more'}",)
    found = [*_configured(mirror, git / "config", planted["config"]), *_hooks(git / "hooks")]
    found += [f".git/{name} was changed" for name in _FILES if _content(git / name) != planted[name]]
    found += [f".git/{name} is new" for name in _STRANGE if (git / name).is_symlink() or (git / name).exists()]
    return tuple(found[:_MOST])


def _configured(mirror: Mirror, file: Path, planted: str) -> Iterator[str]:
    now = _content(file)
    if now == planted:
        return
    before, after = _entries(mirror, planted), None if now is None else _entries(mirror, now)
    if after is None or before is None:
        yield ".git/config cannot be read any more"
        return
    names = sorted({name for name, _ in after ^ before})
    yield from (f".git/config: {name}" for name in names or ("its text",))


def _entries(mirror: Mirror, text: str) -> set[tuple[str, str]] | None:
    """(name, value) of each entry; nothing is included, and nothing of it is obeyed."""
    words = ("config", "--file", "-", "--no-includes", "--null", "--list")
    answer = mirror.run(*words, stdin=text.encode("utf-8", "surrogateescape"), accept=range(256))
    if answer.code != 0:
        return None
    pairs = (entry.partition("\n") for entry in answer.names)
    return {(name, value) for name, _, value in pairs}


def _hooks(directory: Path) -> Iterator[str]:
    if directory.is_symlink():
        yield ".git/hooks is a link"
    elif directory.is_dir():
        yield from (f".git/hooks/{one.name} is new" for one in sorted(directory.iterdir())[:_MOST])


def _content(file: Path) -> str | None:
    """None for what is no file of a reasonable size."""
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > _LONGEST:
            return None
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return None
