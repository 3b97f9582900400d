"""The bare repository behind a double: reads and conditional moves of refs, and a merge as the button makes it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_WHO: Final = {
    f"GIT_{role}_{part}": word
    for role in ("AUTHOR", "COMMITTER")
    for part, word in (("NAME", "Forge"), ("EMAIL", "forge@localhost"))
}
_ALONE: Final = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}


class GitRepository:
    """One bare repository. ``environment`` gives PATH. Nothing is forced: a ref moves only from the value named."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self.path = path
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **environment, **_ALONE, **_WHO}
        # What two commits are to each other never changes.
        self._known: dict[tuple[str, str, str], bool] = {}

    def run(self, *arguments: str, accept: Sequence[int] = (0,), stdin: str = "") -> tuple[int, str]:
        """(exit code, output). Raises RuntimeError for any other exit code."""
        done = subprocess.run(
            ["git", f"--git-dir={self.path}", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in accept:
            raise RuntimeError(f"git {arguments[0]}: {done.stderr.strip()}")
        return done.returncode, done.stdout.strip()

    def heads(self) -> dict[str, str]:
        """Tip by branch."""
        _, text = self.run("for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads")
        return {name: sha for sha, _, name in (line.partition(" ") for line in text.splitlines())}

    def tip(self, branch: str) -> str | None:
        return self.run("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", accept=(0, 1))[1] or None

    def is_commit(self, sha: str) -> bool:
        return self.run("cat-file", "-e", f"{sha}^{{commit}}", accept=(0, 1, 128))[0] == 0

    def has(self, tip: str, sha: str) -> bool:
        """Whether ``sha`` is ``tip`` or an ancestor of it."""
        return self._once("has", tip, sha, "merge-base", "--is-ancestor", sha, tip)

    def merge_base(self, one: str, other: str) -> str:
        return self.run("merge-base", one, other, accept=(0, 1))[1]

    def count(self, base: str, head: str) -> int:
        """How many commits ``head`` has and ``base`` has not."""
        return int(self.run("rev-list", "--count", f"{base}..{head}")[1])

    def move(self, *steps: tuple[str, str, str]) -> bool:
        """Move branches, (name, old, new) each, all or none; an empty ``new`` deletes. False: one is not at its old."""
        lines = [f"update refs/heads/{name} {new or '0' * 40} {old}" for name, old, new in steps]
        return self.run("update-ref", "--stdin", accept=(0, 128), stdin="\n".join([*lines, ""]))[0] == 0

    def merges_cleanly(self, base: str, head: str) -> bool:
        return self._once("merges", base, head, "merge-tree", "--write-tree", base, head)

    def _once(self, question: str, one: str, other: str, *arguments: str) -> bool:
        key = (question, one, other)
        if key not in self._known:
            self._known[key] = self.run(*arguments, accept=(0, 1, 128))[0] == 0
        return self._known[key]

    def merge_commit(self, base: str, head: str, message: str) -> str | None:
        """A commit of its own, as the button makes it; None on a conflict. Moves nothing."""
        code, text = self.run("merge-tree", "--write-tree", base, head, accept=(0, 1))
        if code:
            return None
        tree = text.splitlines()[0]
        return self.run("commit-tree", tree, "-p", base, "-p", head, "-m", message)[1]
