"""What every effect is made of: a key, a current look, one act, a revocation. The ledger does the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from orchestrator.domain.configuration import RepositoryConfig
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import Edge, EffectKind
from orchestrator.domain.views import TaskView
from orchestrator.ports import ChildRunner, MergeCandidate, Notifier, ProjectPorts
from orchestrator.store.database import Store


@dataclass(frozen=True, slots=True)
class EffectContext:
    """One effect of one task at one edge. ``request`` is the claim's: a predecessor's where it was adopted.

    ``edge`` is None for effects of a park. ``note`` is what people are told (a comment's or message's text);
    ``occasion`` names why, so that two comments of one visit have two keys. ``look`` and ``revoke`` go by ``request``
    alone: they are also called on claims of earlier steps, whose edge, occasion and candidate nobody knows any more.
    """

    view: TaskView
    ports: ProjectPorts
    repository: RepositoryConfig
    notifiers: tuple[Notifier, ...]
    edge: Edge | None
    base_sha: str
    candidate: MergeCandidate | None
    children: ChildRunner
    store: Store
    note: str = ""
    occasion: str = ""
    request: Mapping[str, str] = field(default_factory=dict)


class Then(StrEnum):
    """What follows when an effect has become impossible as it was decided."""

    DECIDE_AGAIN = "decide-again"
    """Something it rests on is newer (the base moved): build and judge again."""
    GO_BACK = "go-back"
    """What was judged is no longer there (the head moved): back to development."""
    ASK = "ask"
    """A person undid or forbade it (a closed pull request): park."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A current read shows the effect done, by us or by anybody: ``result`` is what was seen.

    ``unsettled``: it is done, and the target's own record does not say so yet (a merge that git has and whose pull
    request is open). ``act`` then only mends the record; confirm even when it stays so, for done is done.
    """

    result: Mapping[str, str]
    unsettled: bool = False


GONE: Final = Landed({"skipped": "the work item is gone from the tracker"})
"""What an effect on a work item finds that was deleted there: there is nothing left to write to."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A current read shows that it has not happened, and that it still can."""


@dataclass(frozen=True, slots=True)
class Impossible:
    """A current read shows that it has not happened and can no longer happen as decided (head moved, PR closed)."""

    why: str
    then: Then = Then.ASK


Seen = Landed | Absent | Impossible


class Effect(Protocol):
    """One kind of effect. Every method may raise TransientError; none catches it to guess."""

    kind: EffectKind
    keyless: bool
    """True when the target offers nothing to recognise a repetition by (a notification)."""

    def target(self, context: EffectContext) -> str:
        """The key's last part: to what it is done. Stable over retries and owners."""

    def request(self, context: EffectContext) -> Mapping[str, str]:
        """What exactly was decided, written into the claim before anything is sent."""

    def look(self, context: EffectContext) -> Seen:
        """A current read of the outside, judged against ``context.request``."""

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        """Do it once. Whatever this returns or raises says nothing: the engine looks again."""

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Make it impossible at its target for good. The engine looks again afterwards."""
