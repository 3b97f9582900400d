"""Branches of a forge by git itself: the one reader whose answer is neither cached nor behind, and the one delete
that names the tip which it expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.adapters.git.names import checked_branch, checked_sha
from orchestrator.adapters.git.runner import Answer, Git, remote_error
from orchestrator.domain.errors import LostRaceError, PermanentError


class RemoteBranches:
    """Branches of the repository at ``url``. ``scratch`` is a folder of our own: git wants a repository to push from,
    which stays empty."""

    def __init__(self, scratch: Path, url: str, environment: Callable[[], Mapping[str, str]]) -> None:
        self._scratch = scratch
        self._url = url
        self._git = Git(environment)

    def tip(self, branch: str) -> str | None:
        """Where the branch stands now. Raises TransientError, NeedsHumanError."""
        name = f"refs/heads/{checked_branch(branch)}"
        answer = self._git.run(self._scratch, "ls-remote", "--end-of-options", self._url, name, remote=self._url)
        rows = (line.split("\t") for line in answer.text.splitlines())
        return next((sha for sha, ref in rows if ref == name), None)

    def delete(self, branch: str, expected_tip: str) -> None:
        """Delete the branch while it stands at ``expected_tip``. Gone already is success.

        Raises LostRaceError when it stands elsewhere, PermanentError or NeedsHumanError when the forge refuses,
        TransientError when nobody can tell.
        """
        if self._standing(branch, expected_tip) is None:
            return
        answer = self._push_nothing(branch, expected_tip)
        # The answer is not believed: the branch is read again.
        if self._standing(branch, expected_tip) is None:
            return
        if "[remote rejected]" in answer.text:
            raise PermanentError(f"the forge does not delete {branch}: {answer.errors}", remedy="see its rules")
        raise remote_error(self._url, answer)

    def _standing(self, branch: str, expected_tip: str) -> str | None:
        tip = self.tip(branch)
        if tip is not None and tip != checked_sha(expected_tip):
            raise LostRaceError(f"{branch} is at {tip}, not at {expected_tip}: it was not deleted")
        return tip

    def _push_nothing(self, branch: str, expected_tip: str) -> Answer:
        if not (self._scratch / "HEAD").is_file():
            self._scratch.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._git.run(self._scratch, "init", "--quiet", "--bare", "--template=", "--initial-branch=none")
        name = f"refs/heads/{checked_branch(branch)}"
        return self._git.run(
            self._scratch,
            *("push", "--porcelain", "--no-verify", f"--force-with-lease={name}:{checked_sha(expected_tip)}"),
            *("--end-of-options", self._url, f":{name}"),
            remote=self._url,
            accept=range(256),
        )
