"""The work items of the demo, what is to become of each, and what the scripted agents wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.domain.stages import AFTER_MERGE, Stage, is_terminal

PROJECT: Final = "DEMO"
AUTHOR: Final = "demo"


class Cue(StrEnum):
    """A file that an agent waits for: it makes two items meet where the story needs it, however fast the machine is."""

    WEIGHTS_MERGED = "weights-merged"
    OTHERS_ENDED = "others-ended"


@dataclass(frozen=True, slots=True)
class Item:
    """One work item. ``plan`` is what the scripted agent does for it; ``roll_backs`` is how often it must come back to
    development at least; ``blocked_by`` names plans."""

    plan: str
    title: str
    body: str
    tells: str
    ends: Stage = Stage.DONE
    roll_backs: int = 0
    blocked_by: tuple[str, ...] = ()
    priority: int = 0

    @property
    def words(self) -> str:
        """The body as it stands in the tracker; the last line tells the scripted agent what to do."""
        return f"{self.body}\n\nPlan: {self.plan}\n"


STORY: Final = (
    Item(
        "weights",
        "Every product has a weight",
        "Parcels are priced by weight. Each product needs one, and a test must keep it so.",
        tells="goes straight through",
        priority=5,
    ),
    Item(
        "vat",
        "Show prices with VAT",
        "Customers want to see what they pay in the end.",
        tells="is sent back by the review once",
        roll_backs=1,
        priority=4,
    ),
    Item(
        "teapot",
        "Sell a teapot",
        "A teapot for 24.90.",
        tells="passes alone, but not merged with the weights: rolled back, mended",
        roll_backs=1,
        priority=4,
    ),
    Item(
        "parcel",
        "Show what a parcel weighs",
        "The sum of the weights of what is in it, and 120 g for the box.",
        tells="waits for the weights",
        blocked_by=("weights",),
        priority=3,
    ),
    Item(
        "rewrite",
        "Rewrite the shop in another language",
        "It would be nicer.",
        tells="is stopped while its agent runs",
        ends=Stage.CANCELLED,
        priority=6,
    ),
    Item(
        "rates",
        "Charge for shipping",
        "The rates differ by environment and stand in rates/<environment>.json.",
        tells="is unhealthy in production: put back, fixed forward",
        roll_backs=1,
        priority=2,
    ),
)

STOPPED: Final = "rewrite"


def cues_due(stages: Mapping[str, Stage]) -> list[Cue]:
    """The cues that are due when the items (by plan) stand at ``stages``."""
    due = []
    if stages.get("weights") in AFTER_MERGE:
        due.append(Cue.WEIGHTS_MERGED)
    others = [stages.get(one.plan) for one in STORY if one.plan != "rates"]
    # What merges while production is unhealthy would carry the fault along.
    if all(stage is not None and is_terminal(stage) for stage in others):
        due.append(Cue.OTHERS_ENDED)
    return due
