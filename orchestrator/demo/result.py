"""How the demo ended: what was told, what became of it, what was counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.demo.chaos import Kill
from orchestrator.demo.counting import Counted, count, strays
from orchestrator.demo.outside import Outside
from orchestrator.demo.story import STORY, Item
from orchestrator.domain.stages import AFTER_MERGE, EffectKind, Stage
from orchestrator.domain.views import EffectStatus
from orchestrator.store.read_models import EventRow, ItemPage, ItemState


@dataclass(frozen=True, slots=True)
class Ended:
    """One item of the story as it ended. ``path``: its stages in order."""

    item: Item
    work_item: str
    state: ItemState
    path: tuple[Stage, ...]
    reasons: tuple[str, ...]

    @property
    def roll_backs(self) -> int:
        return self.path[1:].count(Stage.DEVELOPMENT) - 1 if Stage.DEVELOPMENT in self.path else 0

    def problems(self) -> Iterator[str]:
        if self.state != str(self.item.ends):
            yield f"{self.work_item} is {self.state}, not {self.item.ends}: {'; '.join(self.reasons) or 'no reason'}"
        elif self.roll_backs < self.item.roll_backs:
            yield f"{self.work_item} came back to development {self.roll_backs} times, not {self.item.roll_backs}"
        if self.item.ends is Stage.CANCELLED and AFTER_MERGE.intersection(self.path):
            yield f"{self.work_item} was stopped, and merged all the same"


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that the end shows; without ``problems`` and ``left_over`` (processes that do not end) the exit code
    is 0."""

    seconds: float
    items: tuple[Ended, ...]
    counted: tuple[Counted, ...]
    kills: tuple[Kill, ...]
    version: str
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    def cells(self) -> Mapping[tuple[EffectKind, str], tuple[int, int, int]]:
        """(claimed, done, counted outside) by kind and work item, each landing once however many claims speak of it.

        A claim that its target refused (the base branch had moved) makes claimed more than done.
        """
        found: dict[tuple[EffectKind, str], dict[str, tuple[bool, int]]] = {}
        for one in self.counted:
            if not one.skipped:
                landings = found.setdefault((one.kind, one.work_item), {})
                before = landings.get(one.landing, (False, 0))[0]
                landings[one.landing] = (before or one.status is EffectStatus.CONFIRMED, one.landed)
        return {
            key: (len(landings), sum(done for done, _ in landings.values()), sum(n for _, n in landings.values()))
            for key, landings in found.items()
        }


def ended(keys: Mapping[str, str], pages: Sequence[ItemPage], history: Mapping[str, Sequence[EventRow]]) -> list[Ended]:
    """What became of each item of the story. ``keys``: work item by plan."""
    by_key = {page.row.work_item: page for page in pages}
    found = []
    for item in STORY:
        page = by_key[keys[item.plan]]
        steps = [one for one in history[page.row.work_item] if one.kind in ("task.created", "stage.committed")]
        path = tuple(Stage(str(one.detail["to"])) for one in steps)
        found.append(Ended(item, page.row.work_item, page.row.state, path, page.row.reasons))
    return found


def judge(
    items: Sequence[Ended], pages: Sequence[ItemPage], outside: Outside, kills: Sequence[Kill], seconds: float
) -> Result:
    """Put ledger and outside side by side."""
    counted = count(pages, outside)
    problems = [problem for one in items for problem in one.problems()]
    problems += [one.problem for one in counted if one.problem]
    problems += strays(pages, counted, outside)
    seen = outside.production
    if not seen.healthy or seen.version != outside.tip:
        problems.append(f"production answers {seen.version}, not the tip of main {outside.tip}: {seen.detail}")
    return Result(seconds, tuple(items), tuple(counted), tuple(kills), seen.version or "", tuple(problems))
