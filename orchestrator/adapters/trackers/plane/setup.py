"""Connecting a Plane project: what `orch doctor` looks at.

Plane has no way to read or make webhooks with an API key, so what can be said of one is what Plane would refuse in
its address, and whether a secret is set here; that deliveries come at all is seen by the polls.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from orchestrator.adapters.trackers.plane import states
from orchestrator.adapters.trackers.plane.client import PlaneClient
from orchestrator.domain.configuration import PlaneState
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.work_items import TrackerState
from orchestrator.ports import Checked
from orchestrator.secret import Secret

_ALLOW: Final = "WEBHOOK_ALLOWED_HOSTS or WEBHOOK_ALLOWED_IPS of Plane's API and worker (1.3.1 and later)"


class PlaneSetup:
    """One project, seen with the orchestrator's API key."""

    def __init__(
        self,
        client: PlaneClient,
        key: str,
        *,
        configured: Mapping[TrackerState, PlaneState],
        hook_secret: Secret | None,
    ) -> None:
        self._client, self._key, self._configured, self._secret = client, key, configured, hook_secret

    def check(self, hook_url: str) -> Sequence[Checked]:
        """Every finding; nothing is changed. ``hook_url`` is where Plane is to send its webhooks."""
        place = f"{self._client.workspace}/{self._key}"
        return [
            *_guarded(f"{place} key", f"log in at {self._client.url}", self._me),
            *_guarded(f"{place} project", "find it and read its states", self._project),
            *self._hook(f"{place} webhook", hook_url),
        ]

    def _me(self) -> Iterator[Checked]:
        me = self._client.me()
        part = f"{self._client.workspace}/{self._key} key"
        yield Checked(part, f"log in at {self._client.url}", f"is {me.display_name}'s")

    def _project(self) -> Iterator[Checked]:
        part, tried = f"{self._client.workspace}/{self._key} project", "find it"
        seen = list(self._client.projects())
        found = next((one for one in seen if one.identifier == self._key), None)
        if found is None:
            names = ", ".join(one.identifier for one in seen) or "none"
            mend = "the key in orchestrator.yml is the identifier in Plane; make the API key's user a member of it"
            yield Checked(part, tried, f"the key sees: {names}", good=False, mend=mend)
            return
        wrong = states.problems(self._configured, self._client.states(found.id))
        mend = "make these states in Plane's project settings, or name yours under plane.states"
        yield from (Checked(part, "find every state", line, good=False, mend=mend) for line in wrong)
        if not wrong:
            names = ", ".join(one.name for one in states.wanted_states(self._configured).values())
            yield Checked(part, "find every state", names)

    def _hook(self, part: str, hook_url: str) -> Iterator[Checked]:
        if self._secret is None:
            mend = "make the webhook in Plane's workspace settings and set ORCH_PLANE_WEBHOOK_SECRET_FILE to its secret"
            yield Checked(part, "look for its secret", "none is set here", good=False, mend=mend)
        refusal = refused_address(hook_url)
        if refusal:
            yield Checked(part, f"judge {hook_url} as Plane does", refusal[0], good=False, mend=refusal[1], mild=True)
        elif self._secret is not None:
            got = "its address is one that Plane takes; that it is active only deliveries show"
            yield Checked(part, f"judge {hook_url} as Plane does", got)


def refused_address(hook_url: str) -> tuple[str, str] | None:
    """Why Plane would not send to that address, and the mend; None when it would."""
    parts = urlsplit(hook_url)
    host = parts.hostname or ""
    if host in ("127.0.0.1", "localhost") and parts.port is None:
        return "Plane never takes a local address without a port", "set ORCH_PUBLIC_URL with its port"
    address = _address(host)
    if address is None and "." not in host and host != "localhost":
        mend = "give it an alias with a dot, such as orchestrator.internal, and set ORCH_PUBLIC_URL"
        return f"Plane takes no host name without a dot ({host})", mend
    if host == "localhost" or (address is not None and not address.is_global):
        return f"{host} is a private address, which Plane refuses unless it is allowed", f"name it in {_ALLOW}"
    return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _guarded(part: str, tried: str, look: Callable[[], Iterable[Checked]]) -> Iterator[Checked]:
    try:
        yield from look()
    except OrchestratorError as error:
        yield Checked(part, tried, error.message, good=False, mend=error.remedy)
