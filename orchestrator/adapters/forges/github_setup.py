"""Connecting a GitHub repository: what `orch doctor` looks at, and what `orch init` puts right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from orchestrator.adapters.forges.github_api import GithubApi
from orchestrator.adapters.forges.setups import RepositorySetup, checked, hook_checks, nobody_pushes
from orchestrator.adapters.forges.wire import flag, number
from orchestrator.domain.errors import NeedsHumanError, NotFoundError
from orchestrator.ports import Checked

EVENTS: Final = (
    "push", "create", "delete", "status", "check_run", "pull_request", "pull_request_review", "issue_comment",
)  # fmt: skip


class GithubSetup(RepositorySetup[GithubApi]):
    """``ports.ForgeSetup`` for one repository of this forge."""

    def check(self, hook_url: str) -> Sequence[Checked]:
        """Every finding; nothing is changed. ``hook_url`` is where the server is to send its webhooks."""
        where = self._api.address.full_name
        found = list(checked(f"{where} rights", "read the repository", self._rights))
        if not found[-1].good and not found[-1].mild:
            return found
        found += checked(f"{where} {self._base_branch}", "read its protection", self._protection)
        found += checked(f"{where} agents", "ask for a push", lambda: nobody_pushes(self._api.address))
        found += checked(f"{where} webhook", f"find the one to {hook_url}", lambda: self._hook(hook_url))
        return found

    def _rights(self) -> Iterator[Checked]:
        row = self._api.repository()
        part, tried = f"{self._api.address.full_name} rights", "read the repository"
        if flag(row, "archived"):
            yield Checked(part, tried, "the repository is archived", good=False, mend="nothing can be merged there")
        elif not flag(row, "permissions", "push"):
            yield Checked(part, tried, "the token may not push", good=False, mend="give it write access to contents")
        elif flag(row, "permissions", "admin"):
            mend = "use a token that writes contents, pull requests and statuses, and does not administer"
            yield Checked(part, tried, "the token administers the repository", good=False, mend=mend, mild=True)
        else:
            yield Checked(part, tried, "may push, and does not administer")

    def _protection(self) -> Iterator[Checked]:
        part, tried = f"{self._api.address.full_name} {self._base_branch}", "read its protection"
        row = self._api.branch(self._base_branch)
        if row is None:
            yield Checked(part, tried, "there is no such branch", good=False, mend="push it, or set `base_branch`")
        elif not flag(row, "protected"):
            mend = "protect it, and let only the token's user or app update it"
            yield Checked(part, tried, "is not protected", good=False, mend=mend)
        else:
            yield Checked(part, tried, "is protected; that the token may update it shows with the first merge")

    def _hook(self, hook_url: str) -> Iterator[Checked]:
        part, tried = f"{self._api.address.full_name} webhook", f"find the one to {hook_url}"
        try:
            hooks = self._admin.hooks()
        except (NeedsHumanError, NotFoundError):
            yield Checked(part, tried, "this token may not look at webhooks; `orch init` makes it")
            return
        yield from hook_checks(part, hook_url, hooks, EVENTS, signed=self._secret is not None)

    def prepare(self, hook_url: str) -> Sequence[Checked]:
        """Make the webhook where it is not there; repeating it changes nothing."""
        part = f"{self._api.address.full_name} webhook"
        return list(checked(part, f"have {hook_url} told", lambda: self._make_hook(part, hook_url)))

    def _make_hook(self, part: str, hook_url: str) -> Iterator[Checked]:
        tried = f"have {hook_url} told"
        if self._secret is None:
            mend = "set ORCH_GITHUB_WEBHOOK_SECRET"
            yield Checked(part, tried, "there is no secret to sign with", good=False, mend=mend)
            return
        there = self.hooks_to(hook_url)
        if there and all(one.good for one in hook_checks(part, hook_url, there, EVENTS, signed=True)):
            yield Checked(part, tried, "was there already")
            return
        for one in there:
            self._admin.delete_hook(number(one, "id"))
        yield Checked(part, tried, f"made hook {self._admin.add_hook(hook_url, self._secret, EVENTS)}")
