"""The audit behind `orch verify`: ledger, stage history, git and deployments held against the invariants.

The numbers are those of the ownership protocol (`docs/`). Checks of rows are pure; checks of git read it between two
reads of the rows, since work goes on: what landed must have its claim in the later read (claims come first), and what
the earlier read shows as confirmed must be in git.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from orchestrator.domain.errors import OrchestratorError, UsageError
from orchestrator.domain.lane_merges import merge_of
from orchestrator.domain.ownership import Liveness
from orchestrator.domain.stages import STAGE_TRANSITIONS, TERMINAL, EffectKind, Stage
from orchestrator.domain.views import DeploymentStatus, EffectStatus, JobStatus
from orchestrator.engine.context import Engine
from orchestrator.ports import Host, ProjectPorts
from orchestrator.store import audit_rows
from orchestrator.store.audit_rows import LedgerRow, Step, Trail

FIRST_PARENTS: Final = 2000
"""So many commits of a base branch are looked at, newest first."""
IDLE_SLACK_S: Final = 30.0
_CLEANUP: Final = frozenset(
    {EffectKind.CLOSE_PR, EffectKind.DELETE_BRANCH, EffectKind.REMOVE_WORKTREE, EffectKind.TRACKER_STATE}
)
_STARTS: Final = {
    "staging": EffectKind.START_DEPLOY_STAGING,
    "production": EffectKind.START_DEPLOY_PRODUCTION,
}
_LIVE_JOBS: Final = frozenset({JobStatus.QUEUED, JobStatus.RUNNING})


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that does not hold, of which task, and what shows it."""

    invariant: str
    work_item: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.work_item}: {self.evidence}"


@dataclass(frozen=True, slots=True)
class Audit:
    """One pass. ``unread`` names projects whose git could not be read: what is said about them is not the whole."""

    tasks: int
    effects: int
    landings: int
    breaches: tuple[Breach, ...]
    unread: tuple[str, ...]


def audit(engine: Engine) -> Audit:
    """Check everything that rows and git can show. Changes nothing."""
    before = _read(engine)
    breaches: list[Breach] = [one for trail in before for one in of_rows(trail)]
    breaches += [one for trail in before for one in of_owner(trail, engine.host)]
    limit = 2 * engine.timings.reconciler_interval_s + IDLE_SLACK_S
    breaches += [one for trail in before for one in of_movement(trail, limit)]
    landings, unread = 0, []
    for project in sorted({trail.project for trail in before}):
        try:
            ports = engine.project(project)
            landed = landings_of(ports)
            breaches += of_git(ports, landed, _of(project, before), _of(project, _read(engine)))
            landings += len(landed)
        except OrchestratorError as error:
            unread.append(f"{project}: {error.message}")
    effects = sum(len(trail.effects) for trail in before)
    return Audit(len(before), effects, landings, tuple(dict.fromkeys(breaches)), tuple(unread))


def _read(engine: Engine) -> list[Trail]:
    with engine.store.snapshot() as connection:
        return audit_rows.trails(connection)


def _of(project: str, trails: Sequence[Trail]) -> list[Trail]:
    return [trail for trail in trails if trail.project == project]


# --- rows alone ----------------------------------------------------------------------------------------------


def of_rows(trail: Trail) -> Iterator[Breach]:
    """Every breach that the rows of one task show by themselves."""
    for check in _ROW_CHECKS:
        for invariant, evidence in check(trail):
            yield Breach(invariant, trail.work_item, evidence)


Found = Iterator[tuple[str, str]]


def _history_is_a_path(trail: Trail) -> Found:
    if not trail.steps or trail.steps[0].source is not None:
        yield "I4", "its history does not begin with its start"
    for earlier, later in pairwise(trail.steps):
        if later.source is not earlier.target or later.target not in STAGE_TRANSITIONS[earlier.target]:
            yield "I4", f"#{later.seq} goes {later.source} -> {later.target}, after it had come to {earlier.target}"
        if later.seq != earlier.seq + 1:
            yield "I4", f"stage_seq went from {earlier.seq} to {later.seq} with {later.source} -> {later.target}"
        if earlier.target in TERMINAL:
            yield "I4", f"#{later.seq} left the terminal stage {earlier.target}"
    last = trail.steps[-1] if trail.steps else None
    if last is not None and (last.target, last.seq) != (trail.stage, trail.stage_seq):
        yield "I4", f"the row is at {trail.stage} #{trail.stage_seq}, its history at {last.target} #{last.seq}"


def _epochs_only_grow(trail: Trail) -> Found:
    for earlier, later in pairwise(trail.steps):
        if later.epoch < earlier.epoch:
            yield "I10", f"#{later.seq} was committed with epoch {later.epoch}, after epoch {earlier.epoch}"
    for row in trail.effects:
        if row.epoch > trail.lease_epoch:
            yield "I10", f"{_named(row)} has epoch {row.epoch}, the task {trail.lease_epoch}"


def _one_merge_a_pull_request(trail: Trail) -> Found:
    numbers = Counter(row.target.partition("@")[0] for row in _confirmed(trail, EffectKind.MERGE_PR))
    for number, count in numbers.items():
        if count > 1:
            yield "I1", f"pull request {number} has {count} confirmed merges"


def _no_way_back_after_the_merge(trail: Trail) -> Found:
    merged = {row.visit for row in _confirmed(trail, EffectKind.MERGE_PR)}
    for step in trail.steps:
        if step.source is Stage.DEPLOY_STAGING and step.target is Stage.DEVELOPMENT and step.seq - 1 in merged:
            yield "I3", f"#{step.seq} went back to development although visit {step.seq - 1} had merged"


def _deploy_only_after_the_merge(trail: Trail) -> Found:
    merged = {row.visit for row in _confirmed(trail, EffectKind.MERGE_PR)}
    started = {row.visit for row in _confirmed(trail, EffectKind.START_DEPLOY_PRODUCTION)}
    for step in trail.steps:
        if step.target is Stage.DEPLOY and step.seq - 1 not in merged:
            yield "I5", f"#{step.seq} entered deploy without a merge in visit {step.seq - 1}"
        if step.target is Stage.DEPLOY and step.seq - 1 not in started:
            yield "I6", f"#{step.seq} entered deploy without a deploy start in visit {step.seq - 1}"


def _done_only_with_a_deploy(trail: Trail) -> Found:
    skipped = any("skipped" in row.result for row in _confirmed(trail, EffectKind.START_DEPLOY_PRODUCTION))
    landed = any(
        row.environment == "production" and row.status is DeploymentStatus.SUCCEEDED for row in trail.deployments
    )
    if trail.stage is Stage.DONE and not (skipped or landed or trail.observed):
        yield "I6", "it is done and no production deploy of it was seen to answer"


def _deployments_have_claims(trail: Trail) -> Found:
    claimed = {(row.visit, row.kind) for row in trail.effects}
    rows = {(row.visit, row.environment) for row in trail.deployments if row.kind == "deploy"}
    for row in trail.deployments:
        kind = _STARTS.get(row.environment) if row.kind == "deploy" else None
        if kind is not None and row.status is not DeploymentStatus.REVOKED and (row.visit, kind) not in claimed:
            yield "I14", f"deployment {row.id} of {row.environment} has no claim in visit {row.visit}"
    for environment, kind in _STARTS.items():
        for effect in _confirmed(trail, kind):
            if "skipped" not in effect.result and (effect.visit, environment) not in rows:
                yield "I14", f"{_named(effect)} is confirmed and there is no such deployment"


def _nothing_after_the_stop(trail: Trail) -> Found:
    told = trail.stop_acknowledged_at
    if told is None:
        return
    for row in trail.effects:
        if row.kind not in _CLEANUP and (row.claimed_at > told or (row.sent_at is not None and row.sent_at > told)):
            yield "I7", f"{_named(row)} left after the STOP was acknowledged at {told.isoformat()}"
    for deployment in trail.deployments:
        if deployment.started_at is not None and deployment.started_at > told:
            yield "I7", f"deployment {deployment.id} started after the STOP was acknowledged"


def _claims_belong_to_their_visit(trail: Trail) -> Found:
    entered = {step.seq: step for step in trail.steps}
    for row in trail.effects:
        here, after = entered.get(row.visit), entered.get(row.visit + 1)
        if here is None:
            yield "I12", f"{_named(row)} names visit {row.visit}, which the task never made"
        elif row.claimed_at < here.at or (after is not None and row.claimed_at > after.at):
            yield "I12", f"{_named(row)} was claimed outside visit {row.visit}"
        elif _left_open(row, after):
            yield "I13", f"{_named(row)} was still open when visit {row.visit} was left"


def _left_open(row: LedgerRow, after: Step | None) -> bool:
    # A message to people that could not be sent holds nothing up; its claim stays to be seen.
    if after is None or row.kind is EffectKind.NOTIFY:
        return False
    return row.settled_at is None or row.settled_at > after.at


def _no_open_claim_at_rest(trail: Trail) -> Found:
    at_rest = trail.lease_owner is None and (trail.stage in TERMINAL or trail.parked)
    told = trail.stage is not Stage.CANCELLED or trail.stop_acknowledged_at is not None
    for row in trail.effects if at_rest and told else ():
        if row.status is EffectStatus.CLAIMED:
            yield "I13", f"{_named(row)} is open at rest since {row.claimed_at.isoformat()}"


def _nothing_left_over(trail: Trail) -> Found:
    stages = {step.seq: step.target for step in trail.steps}
    for job in trail.jobs:
        if job.visit in stages and stages[job.visit] is not job.stage:
            yield "I16", f"job {job.id} is for {job.stage}, visit {job.visit} was {stages[job.visit]}"
        if job.status in _LIVE_JOBS and (trail.stage in TERMINAL or job.visit != trail.stage_seq):
            yield (
                "I16",
                f"job {job.id} of visit {job.visit} is {job.status}, the task at {trail.stage} #{trail.stage_seq}",
            )
    if trail.stage is Stage.DONE and trail.lease_owner is not None:
        yield "I16", f"it is done and its lease is held by {trail.lease_owner}"


_ROW_CHECKS: Final[tuple[Callable[[Trail], Found], ...]] = (
    _one_merge_a_pull_request,
    _no_way_back_after_the_merge,
    _history_is_a_path,
    _deploy_only_after_the_merge,
    _done_only_with_a_deploy,
    _nothing_after_the_stop,
    _epochs_only_grow,
    _claims_belong_to_their_visit,
    _no_open_claim_at_rest,
    _deployments_have_claims,
    _nothing_left_over,
)


def of_owner(trail: Trail, host: Host) -> Iterator[Breach]:
    """A lease whose owner is dead: the next sweep must have freed it."""
    owner = trail.lease_owner
    if owner is not None and host.liveness(owner) is Liveness.DEAD:
        yield Breach("I15", trail.work_item, f"its lease in {trail.lease_edge} is held by {owner}, which is dead")


def of_movement(trail: Trail, limit_s: float) -> Iterator[Breach]:
    """A live task must move, or say why it does not."""
    working = trail.lease_owner is not None or any(job.status in _LIVE_JOBS for job in trail.jobs)
    still = trail.stage not in TERMINAL and not trail.parked and not working and not trail.reasons
    if still and trail.idle_s > limit_s:
        yield Breach("I15", trail.work_item, f"it stands at {trail.stage} for {trail.idle_s:.0f} s and gives no reason")


def _confirmed(trail: Trail, kind: EffectKind) -> list[LedgerRow]:
    return [row for row in trail.effects if row.kind is kind and row.status is EffectStatus.CONFIRMED]


def _named(row: LedgerRow) -> str:
    return f"effect {row.id} ({row.kind} {row.target}, visit {row.visit})"


# --- git -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Landing:
    """A commit of the base branch that says it is the merge built for a visit of a task."""

    sha: str
    task_id: int
    visit: int


def landings_of(ports: ProjectPorts) -> list[Landing]:
    """Our merges on the base branch as it is at the forge now, newest first."""
    workspaces = ports.workspaces
    base = workspaces.base_tip()
    workspaces.fetch()
    found = []
    for sha, parents in workspaces.first_parents(base, FIRST_PARENTS):
        if len(parents) > 1 and (named := merge_of(workspaces.commit_message(sha))) is not None:
            found.append(Landing(sha, *named))
    return found


def of_git(
    ports: ProjectPorts, landed: Sequence[Landing], before: Sequence[Trail], after: Sequence[Trail]
) -> list[Breach]:
    """What git and the ledger say differently. ``before`` was read before git, ``after`` after it."""
    found = [*_landed_twice(landed, after), *_landed_without_claim(landed, after)]
    for trail in before:
        for row in _confirmed(trail, EffectKind.MERGE_PR):
            found += [Breach(one, trail.work_item, evidence) for one, evidence in _not_as_decided(ports, row)]
        found += [Breach("I16", trail.work_item, evidence) for evidence in _left_in_git(ports, trail)]
    return found


def _landed_twice(landed: Sequence[Landing], trails: Sequence[Trail]) -> Iterator[Breach]:
    names = {trail.task_id: trail.work_item for trail in trails}
    for (task_id, visit), count in Counter((one.task_id, one.visit) for one in landed).items():
        if count > 1:
            shas = ", ".join(one.sha[:12] for one in landed if (one.task_id, one.visit) == (task_id, visit))
            yield Breach("I1", names.get(task_id, f"task {task_id}"), f"visit {visit} was merged {count} times: {shas}")


def _landed_without_claim(landed: Sequence[Landing], trails: Sequence[Trail]) -> Iterator[Breach]:
    by_id = {trail.task_id: trail for trail in trails}
    for one in landed:
        trail = by_id.get(one.task_id)
        name = f"task {one.task_id}" if trail is None else trail.work_item
        claims = [row for row in trail.effects if row.kind is EffectKind.MERGE_PR] if trail is not None else []
        if not any(one.sha in (row.request.get("candidate"), row.result.get("merge_sha")) for row in claims):
            yield Breach("I14", name, f"{one.sha[:12]} is on the base branch without a claim")
        settled = [row for row in claims if row.status in (EffectStatus.REVOKED, EffectStatus.REFUSED)]
        if any(row.request.get("candidate") == one.sha for row in settled):
            yield Breach("I2", name, f"{one.sha[:12]} is on the base branch and its claim was taken back")


def _not_as_decided(ports: ProjectPorts, row: LedgerRow) -> Found:
    sha, workspaces = row.result.get("merge_sha", ""), ports.workspaces
    try:
        if not workspaces.is_ancestor(sha, workspaces.base_tip()):
            yield "I14", f"{_named(row)} is confirmed and {sha[:12]} is not on the base branch"
        elif "by_hand" not in row.result and row.request.get("tree") not in ("", None, workspaces.tree_of(sha)):
            yield "I2", f"{_named(row)} landed another tree than the one that was tested"
    except UsageError:
        yield "I14", f"{_named(row)} is confirmed and {sha[:12] or 'its commit'} is nowhere to be found"


def _left_in_git(ports: ProjectPorts, trail: Trail) -> Iterator[str]:
    over = trail.stage is Stage.DONE or trail.stop_acknowledged_at is not None
    if not over or trail.stage not in TERMINAL:
        return
    if ports.workspaces.exists(trail.branch):
        yield f"its worktree {trail.branch} is still on this node"
    deletions = [row for row in trail.effects if row.kind is EffectKind.DELETE_BRANCH]
    kept = any(row.status is EffectStatus.REFUSED or "kept" in row.result for row in deletions)
    if not kept and ports.workspaces.branch_tip(trail.branch) is not None:
        yield f"its branch {trail.branch} is still at the forge"
