"""Refuses pushes to protected branches by git's own means: a pre-receive hook, which refuses the push as a whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

_REFUSED: Final = "DOUBLE_REFUSED_BRANCHES"
_HOOK: Final = f"""#!/bin/sh
set -f
while read -r old new ref; do
  for name in ${_REFUSED}; do
    case "$ref" in
      refs/heads/$name) echo "Gitea: Not allowed to push to protected branch ${{ref#refs/heads/}}" >&2; exit 1;;
    esac
  done
done
"""


class ProtectedPushes:
    """The hook's folder, from the first ``environment`` until ``stop``."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def environment(self, refused: Iterable[str]) -> Mapping[str, str]:
        """What git's server runs with, so that it refuses pushes to branches of these names or patterns."""
        names = " ".join(refused)
        if not names:
            return {}
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.hooksPath",
            "GIT_CONFIG_VALUE_0": self._hooks(),
            _REFUSED: names,
        }

    def stop(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _hooks(self) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="forge-hooks-")
            hook = Path(self._folder.name) / "pre-receive"
            hook.write_text(_HOOK)
            hook.chmod(0o755)
        return self._folder.name
