"""When an image is stale: the digest of everything that it is built from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from orchestrator.domain.configuration import ImageRecipe

_GLOB_PARTS: Final = re.compile(r"\*\*/|\*\*|\*|\?")
_MEANINGS: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


class Commits(Protocol):
    """What is asked of a repository here; ``ports.Workspaces`` is one."""

    def list_files(self, sha: str) -> Sequence[str]: ...

    def read_file(self, sha: str, path: str) -> bytes | None: ...


def recipe_digest(files: Mapping[str, bytes], command: Sequence[str]) -> str:
    """SHA-256 (hex) over the paths and contents of ``files`` and the build command; the order of files is no matter.

    Every part goes in with its length, so that no two different recipes give one text.
    """
    digest = hashlib.sha256()
    words = [word.encode("utf-8", "surrogateescape") for word in command]
    named = [part for path in sorted(files) for part in (path.encode("utf-8", "surrogateescape"), files[path])]
    for part in (str(len(words)).encode(), *words, *named):
        digest.update(f"{len(part)}:".encode())
        digest.update(part)
    return digest.hexdigest()


def recipe_paths(paths: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Those of ``paths`` that a pattern names. ``*`` and ``?`` stay inside a folder, ``**`` goes through all."""
    chosen = [re.compile(_as_expression(pattern), re.DOTALL) for pattern in patterns]
    return sorted(path for path in paths if any(one.fullmatch(path) for one in chosen))


def _as_expression(pattern: str) -> str:
    found, end = "", 0
    for part in _GLOB_PARTS.finditer(pattern):
        found += re.escape(pattern[end : part.start()]) + _MEANINGS[part[0]]
        end = part.end()
    return found + re.escape(pattern[end:])


def digest_at(commits: Commits, sha: str, recipe: ImageRecipe) -> str:
    """Digest of ``recipe`` as it stands in commit ``sha``. What is named but is no regular file is left out."""
    paths = recipe_paths(commits.list_files(sha), recipe.files)
    contents = {path: commits.read_file(sha, path) for path in paths}
    return recipe_digest({path: raw for path, raw in contents.items() if raw is not None}, recipe.command)
