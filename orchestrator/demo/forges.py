"""The demo's forge: the built-in one, or a stand-in for another system's, with git over HTTP and real webhooks."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from orchestrator.adapters.forges.gitea_setup import EVENTS, SCOPES
from orchestrator.demo.doubles.gitea import GiteaDouble, Person
from orchestrator.demo.doubles.gitea.records import Hook
from orchestrator.demo.doubles.traps import Trap, Trouble
from orchestrator.demo.place import Place

FORGES: Final = ("local", "gitea")
_TOKEN: Final = "demo-forge-token"  # of a server on loopback that ends with the demo
_SECRET: Final = "demo-webhook-secret"  # as above


class DemoForge(Protocol):
    """Where the sample repository lives. ``opened`` is called when the fleet serves at ``web_url``."""

    def repository(self) -> str:
        """What the project's `repository` says."""

    def environment(self) -> Mapping[str, str]:
        """Settings that the fleet needs for it."""

    def project_lines(self) -> Sequence[str]:
        """Keys and values of the project in ``orchestrator.yml``."""

    def opened(self, web_url: str) -> None: ...

    def notes(self) -> Sequence[str]:
        """What there is to tell of it at the end."""


@contextmanager
def demo_forge(name: str, place: Place, seed: int | None) -> Iterator[DemoForge]:
    """The forge called ``name``, while the demo runs; the repository must be there. With a ``seed`` it misbehaves."""
    if name != "gitea":
        yield LocalForgeTables(place)
        return
    double = GiteaDouble(place.repository, place.environment)
    double.start()
    try:
        yield GiteaServer(double, seed)
    finally:
        double.stop()


class LocalForgeTables:
    """The built-in forge: the bare repository itself."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def repository(self) -> str:
        return str(self._place.repository)

    def environment(self) -> Mapping[str, str]:
        return {}

    def project_lines(self) -> Sequence[str]:
        return ["forge: local"]

    def opened(self, web_url: str) -> None:
        """Nobody needs to be told."""

    def notes(self) -> Sequence[str]:
        return ()


class GiteaServer:
    """The fleet reads and writes by API and by git over HTTP, and hears of changes by signed webhooks."""

    def __init__(self, double: GiteaDouble, seed: int | None) -> None:
        self.double = double
        double.let_in(_TOKEN, Person("orchestrator", SCOPES, key=3))
        rules = double.forge.rules
        # A conflict check is never finished at once.
        rules.late_checks = 2
        rules.protected["main"] = {"rule_name": "main", "enable_push": False}
        if seed is not None:
            double.traps.set(*_misfortunes(seed))

    def repository(self) -> str:
        return self.double.clone_url

    def environment(self) -> Mapping[str, str]:
        return {
            "ORCH_GITEA_URL": self.double.url,
            "ORCH_GITEA_TOKEN": _TOKEN,
            "ORCH_GITEA_WEBHOOK_SECRET": _SECRET,
            # What a webhook did not tell is found within the story.
            "ORCH_POLL_INTERVAL_S": "10",
        }

    def project_lines(self) -> Sequence[str]:
        return ["forge: gitea"]

    def opened(self, web_url: str) -> None:
        forge = self.double.forge
        hook = Hook(forge.next_key(), f"{web_url}/webhooks/gitea", _SECRET, EVENTS, active=True)
        forge.hooks[hook.key] = hook

    def notes(self) -> Sequence[str]:
        """What went over the wire, and which misfortunes it met."""
        sent = self.double.forge.deliveries.sent
        heard = sum(one.status == 202 for one in sent)
        calls = sum(one.request.raw_path.startswith("/api/") for one in self.double.server.exchanges)
        sprung = [f"forge: {method} {path}: {what}" for method, path, what in self.double.traps.sprung]
        told = f"forge: {calls} calls answered, {len(sent)} webhooks sent once each, {heard} of them taken"
        return [told, *sprung]


def _misfortunes(seed: int) -> list[Trap]:
    """Each kind of trouble once, at a request that the seed chooses."""
    chance = random.Random(seed)  # noqa: S311  # repeatable on purpose
    merge, pulls, push = r"/pulls/\d+/merge$", r"/pulls$", r"/git-receive-pack$"
    kinds = (
        ("POST", merge, Trouble.HALF_DONE, 0),
        ("POST", merge, Trouble.SAY_AFTER, 0),
        ("POST", merge, Trouble.DROP_BEFORE, 1),
        ("POST", pulls, Trouble.DROP_AFTER, 1),
        ("POST", pulls, Trouble.SAY_BEFORE, 0),
        ("POST", push, Trouble.DROP_AFTER, 3),
        ("POST", push, Trouble.DROP_BEFORE, 4),
        ("GET", r"/pulls/\d+$", Trouble.SAY_BEFORE, 6),
    )
    chosen = chance.sample(kinds, len(kinds))
    return [Trap(method, path, trouble, skip=chance.randint(0, most)) for method, path, trouble, most in chosen]
