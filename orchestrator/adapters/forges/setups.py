"""What connecting a forge has in common: a check that raises is a finding too, and how a webhook must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

import httpx

from orchestrator.adapters.forges.addresses import Address
from orchestrator.adapters.forges.wire import READ, Row, flag, number, text
from orchestrator.domain.errors import OrchestratorError, TransientError
from orchestrator.ports import Checked
from orchestrator.secret import Secret

_NO_GIT: Final = "see that the forge serves git at this address, and run it again"


def checked(part: str, tried: str, look: Callable[[], Iterable[Checked]]) -> Iterator[Checked]:
    """The findings of ``look``; what it raises is the last one."""
    try:
        yield from look()
    except OrchestratorError as error:
        yield Checked(part, tried, error.message, good=False, mend=error.remedy)


def nobody_pushes(address: Address) -> Iterator[Checked]:
    """Agents have no token: ask for a push as they could, up to the point where the forge asks who it is. Nothing is
    written by it."""
    part, tried = f"{address.full_name} agents", "ask for a push without a token, as an agent could"
    asked = f"{address.clone_url}/info/refs"
    try:
        answer = httpx.get(asked, params={"service": "git-receive-pack"}, timeout=READ, follow_redirects=False)
    except httpx.HTTPError as error:
        raise TransientError(f"GET {asked}: no answer ({type(error).__name__}: {error})") from None
    if answer.status_code == 200:
        mend = "only users whom you name may write: see who may without logging in"
        yield Checked(part, tried, "anybody may push, also an agent", good=False, mend=mend)
    elif answer.status_code in (401, 403, 404):
        yield Checked(part, tried, f"is refused ({answer.status_code})")
    else:
        yield Checked(part, tried, f"{answer.status_code}, so nobody can tell", good=False, mend=_NO_GIT, mild=True)


def hook_checks(
    part: str, hook_url: str, hooks: Sequence[Row], events: Sequence[str], *, signed: bool
) -> Iterator[Checked]:
    """Whether one of ``hooks`` tells ``hook_url`` of ``events``, signed and active."""
    tried = f"find the one to {hook_url}"
    there = [one for one in hooks if text(one, "config", "url") == hook_url]
    if not there:
        yield Checked(
            part, tried, "there is none", good=False, mend="`orch init` makes it; until then facts are polled"
        )
        return
    if len(there) > 1:
        yield Checked(part, tried, f"there are {len(there)}", good=False, mend="delete all but one", mild=True)
    yield from _of_one(part, tried, there[-1], events)
    if not signed:
        mend = "set the webhook secret of this forge: unsigned deliveries are refused"
        yield Checked(part, tried, "no secret is set here", good=False, mend=mend)


def _of_one(part: str, tried: str, hook: Row, events: Sequence[str]) -> Iterator[Checked]:
    told = hook.get("events")
    missing = sorted(set(events) - set(told if isinstance(told, list) else ()))
    if not flag(hook, "active"):
        yield Checked(part, tried, "is not active", good=False, mend="activate it, or let `orch init` make it anew")
    if text(hook, "config", "content_type") != "json":
        yield Checked(part, tried, "does not send JSON", good=False, mend="set its content type to application/json")
    if missing and "*" not in (told or ()):
        got = f"does not tell of {', '.join(missing)}"
        yield Checked(part, tried, got, good=False, mend="let `orch init` make it anew")
    elif flag(hook, "active"):
        yield Checked(part, tried, "is active and tells of all that is needed")


class HookApi(Protocol):
    """What a setup needs of an API beside the words of its forge."""

    address: Address

    def hooks(self) -> Sequence[Row]: ...

    def ping_hook(self, hook: int, /) -> None: ...


A = TypeVar("A", bound=HookApi)


class RepositorySetup(Generic[A]):
    """One repository, seen with the orchestrator's token. ``admin`` (the API with the token of an administrator of the
    repository) is used for what the other may not do: hooks and settings."""

    def __init__(self, api: A, *, base_branch: str, hook_secret: Secret | None, admin: A | None = None) -> None:
        self._api = api
        self._admin = admin or api
        self._base_branch = base_branch
        self._secret = hook_secret

    def hooks_to(self, hook_url: str) -> list[Row]:
        """Webhooks that lead there, as the administrator sees them."""
        return [one for one in self._admin.hooks() if text(one, "config", "url") == hook_url]

    def ping(self, hook_url: str) -> bool:
        """Have the server send a delivery to ``hook_url`` now, as a real round trip; False: there is no such hook."""
        try:
            there = self.hooks_to(hook_url)
        except OrchestratorError:
            return False
        for one in there[:1]:
            self._admin.ping_hook(number(one, "id"))
        return bool(there)
