"""Each line of the ledger beside what was counted outside; whatever does not agree is a problem with its words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from orchestrator.demo.outside import Outside
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import DeploymentStatus, EffectStatus
from orchestrator.ports import PullRequestState
from orchestrator.store.read_models import DeploymentRow, EffectRow, ItemPage


@dataclass(frozen=True, slots=True)
class Counted:
    """A claim of the ledger and its landings. ``landing`` names what it is about outside: claims of several visits may
    speak of one (a branch has one pull request). ``allowed``: more than one only for what may come again (an item is in
    progress after each roll back, the same words are told), and for what has no key, after a fault; ``needed``: none
    for a deployment that failed or was revoked."""

    work_item: str
    kind: EffectKind
    target: str
    visit: int
    status: EffectStatus
    skipped: bool
    landing: str
    landed: int
    allowed: int
    needed: int = 1

    @property
    def about(self) -> tuple[str, EffectKind, str]:
        """The same for claims that speak of one landing."""
        return self.work_item, self.kind, self.landing

    @property
    def problem(self) -> str:
        """What is wrong; empty when what was confirmed landed, and what was refused did not."""
        what = f"{self.work_item}: {self.kind} {self.target} of visit {self.visit}"
        if self.status is EffectStatus.CLAIMED:
            return f"{what}: is still claimed"
        if self.status is EffectStatus.CONFIRMED and not self.skipped:
            fits = self.needed <= self.landed <= self.allowed
        else:
            # Of what may come again another claim landed; or this one did before, as it cannot be taken back. An image
            # whose builder died before it could say so is nobody's: its tag is asked for by no deployment.
            may_have = self.kind in _COME_AGAIN or self.kind is EffectKind.REBUILD_IMAGE
            fits = self.landed <= (self.allowed if may_have else 0)
        return "" if fits else f"{what}: {self.status}, and landed {self.landed} times"


_COME_AGAIN: Final = (EffectKind.TRACKER_STATE, EffectKind.NOTIFY)


def count(pages: Sequence[ItemPage], outside: Outside) -> list[Counted]:
    """Every claim of every item, oldest first."""
    return allowed_together([_counted(page, row, outside) for page in pages for row in page.effects])


def allowed_together(found: Sequence[Counted]) -> list[Counted]:
    """The same claims; what may come again may land as often as claims speak of it."""
    return [replace(one, allowed=_allowed(one, found)) if one.kind in _COME_AGAIN else one for one in found]


def _allowed(claim: Counted, found: Sequence[Counted]) -> int:
    """At most: those that found it done already did nothing."""
    return sum(one.allowed for one in found if one.about == claim.about)


def _counted(page: ItemPage, row: EffectRow, outside: Outside) -> Counted:
    kind = EffectKind(row.kind)
    keyless = kind is EffectKind.NOTIFY
    needed, allowed = starts_of(page.deployments, row.result.get("deployment"))
    return Counted(
        work_item=page.row.work_item,
        kind=kind,
        target=row.target,
        visit=row.visit,
        status=EffectStatus(row.status),
        skipped="skipped" in row.result or "kept" in row.result,
        landing=_landing(row),
        landed=_landings(page, row, kind, outside),
        # Without a key nobody can tell whether the first one arrived: at most once more for each fault.
        allowed=1 + row.adoptions if keyless else allowed,
        needed=needed,
    )


_STARTS: Final[Mapping[str, tuple[int, int]]] = {DeploymentStatus.FAILED: (0, 1), DeploymentStatus.REVOKED: (0, 0)}


def starts_of(deployments: Sequence[DeploymentRow], named: object) -> tuple[int, int]:
    """How often what a claim asked for has to land, and how often it may; ``named``: the deployment, if it was one.

    One that failed may have died before its command began. One that a STOP took back in time must not begin at all."""
    status = next((one.status for one in deployments if str(one.id) == str(named)), "")
    return _STARTS.get(status, (1, 1))


def _landings(page: ItemPage, row: EffectRow, kind: EffectKind, outside: Outside) -> int:  # noqa: C901, PLR0911  # one line a kind
    request, result = _texts(row.request), _texts(row.result)
    match kind:
        case EffectKind.TRACKER_STATE:
            return outside.states[page.row.work_item][request["state"]]
        case EffectKind.TRACKER_COMMENT:
            return outside.comments[page.row.work_item][request["marker"]]
        case EffectKind.NOTIFY:
            return outside.told[request["title"], request["text"]]
        case EffectKind.OPEN_PR:
            found = outside.pull_requests[request["branch"]]
            return sum(request["marker"] in one.body for one in found)
        case EffectKind.MERGE_PR:
            return _merges(page, row, request, outside)
        case EffectKind.RATCHET_COVERAGE:
            return int(outside.line_rate is not None and outside.line_rate >= Decimal(request["line_rate"] or "0"))
        case EffectKind.REBUILD_IMAGE:
            # An image of the same recipe is as good, whoever built it: the result names the one that counts.
            return int(result.get("tag", request["tag"]) in outside.images)
        case EffectKind.START_DEPLOY_STAGING | EffectKind.START_DEPLOY_PRODUCTION | EffectKind.ROLL_BACK_DEPLOY:
            return outside.deploys[int(result.get("deployment", "0"))]
        case EffectKind.CLOSE_PR:
            found = outside.pull_requests[request["branch"]]
            return int(all(one.state is not PullRequestState.OPEN for one in found))
        case EffectKind.DELETE_BRANCH:
            return int(request["branch"] not in outside.branches)
        case EffectKind.REMOVE_WORKTREE:
            return int(request["branch"] not in outside.worktrees)


_NAMES: Final = ("marker", "candidate", "state", "branch", "text", "line_rate")
"""The word of a request that tells one landing from another; the first that is there."""


def _landing(row: EffectRow) -> str:
    request, result = _texts(row.request), _texts(row.result)
    known = result.get("deployment") or result.get("tag")
    return known or next((request[name] for name in _NAMES if request.get(name)), f"{row.target} of {row.visit}")


def _merges(page: ItemPage, row: EffectRow, request: Mapping[str, str], outside: Outside) -> int:
    if row.status == EffectStatus.CONFIRMED:
        return sum(one.effect == f"{page.row.task_id}/{row.visit}/merge_pr" for one in outside.merges)
    return sum(one.sha == request["candidate"] for one in outside.merges)


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def strays(pages: Sequence[ItemPage], counted: Sequence[Counted], outside: Outside) -> Iterator[str]:
    """What landed outside without a claim that speaks of it."""
    yield from _unclaimed_merges_and_pull_requests(counted, outside)
    yield from _unclaimed_deploys(pages, outside)
    yield from _unclaimed_words(pages, counted, outside)
    if outside.branches != {"main"}:
        yield f"branches are left: {', '.join(sorted(outside.branches - {'main'}))}"
    if outside.worktrees:
        yield f"worktrees are left: {', '.join(sorted(outside.worktrees))}"


def _unclaimed_merges_and_pull_requests(counted: Sequence[Counted], outside: Outside) -> Iterator[str]:
    done = [one for one in counted if one.kind is EffectKind.MERGE_PR and one.status is EffectStatus.CONFIRMED]
    if len(outside.merges) != len(done):
        yield f"main has {len(outside.merges)} merges, {len(done)} are confirmed"
    markers = {one.landing for one in counted if one.kind is EffectKind.OPEN_PR}
    for branch, found in outside.pull_requests.items():
        unclaimed = [one.number for one in found if not any(marker in one.body for marker in markers)]
        if unclaimed:
            yield f"pull requests {unclaimed} of {branch} were opened, and nobody claimed them"


def _unclaimed_deploys(pages: Sequence[ItemPage], outside: Outside) -> Iterator[str]:
    known = {int(str(row.result["deployment"])) for page in pages for row in page.effects if "deployment" in row.result}
    for deployment, lines in outside.deploys.items():
        if deployment not in known:
            yield f"deployment {deployment} was done {lines} times, and nobody claimed it"


def _unclaimed_words(pages: Sequence[ItemPage], counted: Sequence[Counted], outside: Outside) -> Iterator[str]:
    told = sum({one.about: one.landed for one in counted if one.kind is EffectKind.NOTIFY}.values())
    if sum(outside.told.values()) != told:
        yield f"{sum(outside.told.values())} notifications were sent, {told} belong to a claim"
    for page in pages:
        markers = {str(row.request["marker"]) for row in page.effects if row.kind == EffectKind.TRACKER_COMMENT}
        for marker in outside.comments[page.row.work_item].keys() - markers:
            yield f"{page.row.work_item}: a comment {marker} was written, and nobody claimed it"
