"""Connecting a Gitea or Forgejo repository: what `orch doctor` looks at, and what `orch init` puts right.

What is asked for is rights, not presence: the orchestrator's token can push and merge, and should do no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from orchestrator.adapters.forges.gitea_api import SETTING, GiteaApi
from orchestrator.adapters.forges.setups import RepositorySetup, checked, hook_checks, nobody_pushes
from orchestrator.adapters.forges.wire import Row, flag, number
from orchestrator.domain.errors import NeedsHumanError
from orchestrator.ports import Checked

EVENTS: Final = ("push", "create", "delete", "status", "pull_request")
SCOPES: Final = frozenset({"write:repository", "write:issue", "read:user"})
_MERGES: Final = {
    "allow_fast_forward_only_merge": "the base branch is moved by it alone",
    "allow_manual_merge": "a merge that git has and the forge did not record is marked by it",
}


class GiteaSetup(RepositorySetup[GiteaApi]):
    """``ports.ForgeSetup`` for one repository of this forge."""

    # --- doctor ----------------------------------------------------------------------------------------------

    def check(self, hook_url: str) -> Sequence[Checked]:
        """Every finding; nothing is changed. ``hook_url`` is where the server is to send its webhooks."""
        where = self._api.address.full_name
        found = list(checked(f"{where} token", "log in", self._token))
        if not found[-1].good:
            return found
        found += checked(f"{where} rights", "read the repository", self._rights)
        found += checked(f"{where} {self._base_branch}", "read its protection", self._protection)
        found += checked(f"{where} agents", "ask for a push", lambda: nobody_pushes(self._api.address))
        found += checked(f"{where} webhook", f"find the one to {hook_url}", lambda: self._hook(hook_url))
        return found

    def _token(self) -> Iterator[Checked]:
        part = f"{self._api.address.full_name} token"
        login, version = self._api.user(), self._api.version()
        yield Checked(part, f"log in at {self._api.address.web}", f"is {login}'s; the server is {version}")
        scopes = self._api.token_scopes()
        if scopes is None:
            yield Checked(part, "read its scopes", "this server does not tell them")
            return
        missing, more = SCOPES - set(scopes), set(scopes) - SCOPES
        if missing - ({"all"} if "all" in scopes else set()) and "all" not in scopes:
            lacks = f"lacks {', '.join(sorted(missing))}"
            yield Checked(part, "read its scopes", lacks, good=False, mend=f"make a new one for {SETTING}: {_scopes()}")
        elif more:
            got = f"may more than is needed: {', '.join(sorted(more))}"
            yield Checked(part, "read its scopes", got, good=False, mend=f"make one with {_scopes()} alone", mild=True)
        else:
            yield Checked(part, "read its scopes", ", ".join(sorted(scopes)))

    def _rights(self) -> Iterator[Checked]:
        row = self._api.repository()
        part, tried = f"{self._api.address.full_name} rights", "read the repository"
        if not flag(row, "permissions", "push"):
            yield Checked(part, tried, "the token may not push", good=False, mend="make its user a writer")
        elif flag(row, "permissions", "admin"):
            mend = "let it be a writer: an administrator's token is only needed by `orch init`"
            yield Checked(part, tried, "the token administers the repository", good=False, mend=mend, mild=True)
        else:
            yield Checked(part, tried, "may push and merge, and does not administer")
        for name in ("archived", "mirror"):
            if flag(row, name):
                yield Checked(part, tried, f"the repository is {name}", good=False, mend="nothing can be merged there")
        yield from self._merges(row)

    def _merges(self, row: Row) -> Iterator[Checked]:
        part = f"{self._api.address.full_name} merges"
        off = [name for name in _MERGES if not flag(row, name)]
        for name in off:
            got = f"{name} is off: {_MERGES[name]}"
            yield Checked(
                part, "read the settings", got, good=False, mend="`orch init` turns it on, or the settings do"
            )
        if not off:
            yield Checked(part, "read the settings", "fast-forward only and manual marking are allowed")

    def _protection(self) -> Iterator[Checked]:
        part, tried = f"{self._api.address.full_name} {self._base_branch}", "read its protection"
        row = self._api.branch(self._base_branch)
        if row is None:
            yield Checked(part, tried, "there is no such branch", good=False, mend="push it, or set `base_branch`")
            return
        if not flag(row, "protected"):
            yield Checked(part, tried, "is not protected", good=False, mend="protect it: no push, merges by this user")
        elif not flag(row, "user_can_merge"):
            mend = "name the token's user among those who may merge"
            yield Checked(part, tried, "the token may not merge into it", good=False, mend=mend)
        elif flag(row, "user_can_push"):
            mend = "forbid pushes to it: the orchestrator only merges"
            yield Checked(part, tried, "is protected, and may be pushed to", good=False, mend=mend, mild=True)
        else:
            yield Checked(part, tried, "is protected; the token may merge into it, and not push")

    def _hook(self, hook_url: str) -> Iterator[Checked]:
        part, tried = f"{self._api.address.full_name} webhook", f"find the one to {hook_url}"
        try:
            hooks = self._admin.hooks()
        except NeedsHumanError:
            yield Checked(part, tried, "only an administrator's token can look; `orch init` makes it")
            return
        yield from hook_checks(part, hook_url, hooks, EVENTS, signed=self._secret is not None)

    # --- init ------------------------------------------------------------------------------------------------

    def prepare(self, hook_url: str) -> Sequence[Checked]:
        """Allow the two kinds of merges and make the webhook, where they are not there; repeating it changes nothing.

        Needs the rights of an administrator; what they are missing for is a finding.
        """
        where = self._api.address.full_name
        return [
            *checked(f"{where} merges", "allow them", self._allow_merges),
            *checked(f"{where} webhook", f"have {hook_url} told", lambda: self._make_hook(hook_url)),
        ]

    def _allow_merges(self) -> Iterator[Checked]:
        row = self._admin.repository()
        off = {name: True for name in (*_MERGES, "autodetect_manual_merge") if not flag(row, name)}
        if off:
            self._admin.edit_repository(off)
        part = f"{self._api.address.full_name} merges"
        yield Checked(part, "allow them", f"turned on: {', '.join(off)}" if off else "were allowed already")

    def _make_hook(self, hook_url: str) -> Iterator[Checked]:
        part, tried = f"{self._api.address.full_name} webhook", f"have {hook_url} told"
        if self._secret is None:
            mend = "set ORCH_GITEA_WEBHOOK_SECRET"
            yield Checked(part, tried, "there is no secret to sign with", good=False, mend=mend)
            return
        there = self.hooks_to(hook_url)
        for one in there[:-1]:
            self._admin.delete_hook(number(one, "id"))
        # Its secret cannot be read and cannot be changed: one that looks right is left, any other is made anew.
        if there and all(one.good for one in hook_checks(part, hook_url, there[-1:], EVENTS, signed=True)):
            yield Checked(part, tried, "was there already")
            return
        for one in there[-1:]:
            self._admin.delete_hook(number(one, "id"))
        made = self._admin.add_hook(hook_url, self._secret, EVENTS)
        yield Checked(part, tried, f"made hook {made}")


def _scopes() -> str:
    return ", ".join(sorted(SCOPES))
