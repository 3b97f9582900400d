"""The audit: silent on what went right, and it names each invariant that somebody breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator import audit
from orchestrator.adapters.host import LinuxHost
from orchestrator.cli import exits
from orchestrator.domain.lane_merges import merge_of
from orchestrator.domain.ownership import Owner
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import DeploymentStatus, EffectStatus, JobStatus
from orchestrator.engine import intake
from orchestrator.store.audit_rows import DeployRow, LedgerRow, Step, Trail, WorkRow
from tests.cli.conftest import Orch, change
from tests.engine.real_engine import World, git

BEGAN = datetime(2030, 1, 1, tzinfo=UTC)
PATH = [
    None,
    Stage.ANALYSIS,
    Stage.ARCHITECTURE,
    Stage.DEVELOPMENT,
    Stage.REVIEW,
    Stage.TESTING,
    Stage.DEPLOY_STAGING,
    Stage.DEPLOY,
    Stage.DONE,
]
DEAD = Owner("here", "another-boot", 1, 1, 1)


def at(seq: float) -> datetime:
    return BEGAN + timedelta(minutes=10 * seq)


def effect(kind: EffectKind, visit: int, **changes: object) -> LedgerRow:
    row = LedgerRow(
        id=visit * 10,
        kind=kind,
        target="#1@abc" if kind is EffectKind.MERGE_PR else "x",
        visit=visit,
        status=EffectStatus.CONFIRMED,
        epoch=1,
        request={},
        result={},
        claimed_at=at(visit + 0.5),
        sent_at=at(visit + 0.6),
        settled_at=at(visit + 0.7),
    )
    return replace(row, **changes)  # type: ignore[arg-type]  # a test's own mistake fails the test


def finished() -> Trail:
    """A task that went to production as it should."""
    steps = tuple(
        Step(source, target, seq, seq, "plane", at(seq))
        for seq, (source, target) in enumerate(pairwise(PATH))
        if target is not None
    )
    return Trail(
        task_id=1,
        work_item="DEMO-1",
        project="DEMO",
        stage=Stage.DONE,
        stage_seq=7,
        lease_epoch=9,
        branch="orch/DEMO-1",
        pull_request=1,
        merged_sha="abc",
        merged_by_hand=False,
        stop_acknowledged_at=None,
        parked=False,
        reasons=(),
        idle_s=0.0,
        lease_owner=None,
        lease_edge="",
        steps=steps,
        effects=(
            effect(EffectKind.START_DEPLOY_STAGING, 4),
            effect(EffectKind.MERGE_PR, 5),
            effect(EffectKind.START_DEPLOY_PRODUCTION, 5, id=51),
            effect(EffectKind.DELETE_BRANCH, 6),
        ),
        deployments=(
            DeployRow(1, "staging", "deploy", 4, "abc", DeploymentStatus.SUCCEEDED, "abc", at(4.6)),
            DeployRow(2, "production", "deploy", 5, "abc", DeploymentStatus.SUCCEEDED, "abc", at(5.6)),
        ),
        jobs=(WorkRow(1, Stage.ANALYSIS, 0, JobStatus.FINISHED),),
        observed=frozenset(),
    )


def found(trail: Trail) -> set[str]:
    return {breach.invariant for breach in audit.of_rows(trail)}


def with_step(trail: Trail, number: int, **changes: object) -> Trail:
    steps = tuple(replace(one, **changes) if one.seq == number else one for one in trail.steps)  # type: ignore[arg-type]
    return replace(trail, steps=steps)


def with_effects(trail: Trail, *more: LedgerRow) -> Trail:
    return replace(trail, effects=(*trail.effects, *more))


def without(trail: Trail, kind: EffectKind) -> Trail:
    return replace(trail, effects=tuple(one for one in trail.effects if one.kind is not kind))


def test_a_task_that_went_as_it_should_has_no_breach() -> None:
    assert list(audit.of_rows(finished())) == []


def sent_back_after_the_merge(trail: Trail) -> Trail:
    back = Step(Stage.DEPLOY_STAGING, Stage.DEVELOPMENT, 6, 6, "reaper", at(6))
    return replace(
        trail, steps=(*trail.steps[:6], back), stage=Stage.DEVELOPMENT, stage_seq=6, effects=trail.effects[1:3]
    )


BROKEN: dict[str, tuple[str, Callable[[Trail], Trail]]] = {
    "two merges of one pull request": (
        "I1",
        lambda one: with_effects(one, effect(EffectKind.MERGE_PR, 5, id=52, target="#1@def")),
    ),
    "back to development after the merge": ("I3", sent_back_after_the_merge),
    "a step that skips a stage": ("I4", lambda one: with_step(one, 3, target=Stage.DEPLOY)),
    "a step that skips a number": ("I4", lambda one: with_step(one, 7, seq=8)),
    "a row that is elsewhere than its history": ("I4", lambda one: replace(one, stage=Stage.DEPLOY, stage_seq=6)),
    "a terminal stage that was left": (
        "I4",
        lambda one: replace(one, steps=(*one.steps, Step(Stage.DONE, Stage.REVIEW, 8, 9, "x", at(8))), stage_seq=8),
    ),
    "deploy without a merge": ("I5", lambda one: without(one, EffectKind.MERGE_PR)),
    "deploy without a deploy start": ("I6", lambda one: without(one, EffectKind.START_DEPLOY_PRODUCTION)),
    "done without a deploy that answers": ("I6", lambda one: replace(one, deployments=one.deployments[:1])),
    "a comment after the acknowledged stop": (
        "I7",
        lambda one: replace(one, stop_acknowledged_at=at(5)),
    ),
    "an epoch that falls": ("I10", lambda one: with_step(one, 4, epoch=0)),
    "an effect of an epoch that never was": (
        "I10",
        lambda one: with_effects(one, effect(EffectKind.NOTIFY, 0, epoch=99)),
    ),
    "a claim from an earlier visit's decision": (
        "I12",
        lambda one: with_effects(one, effect(EffectKind.OPEN_PR, 2, claimed_at=at(5), settled_at=at(5.1))),
    ),
    "a claim of a visit that never was": ("I12", lambda one: with_effects(one, effect(EffectKind.NOTIFY, 12))),
    "a claim settled after its visit": (
        "I13",
        lambda one: with_effects(one, effect(EffectKind.OPEN_PR, 2, settled_at=at(3.5))),
    ),
    "a claim open at rest": (
        "I13",
        lambda one: with_effects(one, effect(EffectKind.NOTIFY, 7, status=EffectStatus.CLAIMED, settled_at=None)),
    ),
    "a deployment without a claim": ("I14", lambda one: without(one, EffectKind.START_DEPLOY_STAGING)),
    "a deploy start without a deployment": ("I14", lambda one: replace(one, deployments=one.deployments[1:])),
    "a job that outlives its task": (
        "I16",
        lambda one: replace(one, jobs=(WorkRow(2, Stage.ANALYSIS, 0, JobStatus.RUNNING),)),
    ),
    "a job of another stage than its visit": (
        "I16",
        lambda one: replace(one, jobs=(WorkRow(2, Stage.REVIEW, 0, JobStatus.FINISHED),)),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_each_breach_is_named_with_its_invariant(what: str) -> None:
    invariant, breaking = BROKEN[what]
    assert invariant in found(breaking(finished()))


def test_a_lease_with_a_dead_owner_is_a_breach() -> None:
    trail = replace(finished(), lease_owner=DEAD, lease_edge="an edge")
    host = LinuxHost("here", lambda owner: False)
    assert [one.invariant for one in audit.of_owner(trail, host)] == ["I15"]
    assert list(audit.of_owner(replace(trail, lease_owner=host.myself()), host)) == []


def test_a_task_that_stands_still_without_a_reason_is_a_breach() -> None:
    still = replace(finished(), stage=Stage.REVIEW, idle_s=100.0)
    assert [one.invariant for one in audit.of_movement(still, 50.0)] == ["I15"]
    assert list(audit.of_movement(replace(still, reasons=("waits for approval",)), 50.0)) == []
    assert list(audit.of_movement(still, 200.0)) == []


def test_only_the_last_line_of_a_message_names_a_lane_merge() -> None:
    assert merge_of("Merge X\n\nOrchestrator-Effect: 7/5/merge_pr\n") == (7, 5)
    assert merge_of("Orchestrator-Effect: 7/5/merge_pr\n\nsomething else") is None


def test_verify_is_silent_after_an_item_went_to_done_and_sees_what_git_and_the_ledger_say_differently(
    orch: Orch, world: World, tmp_path: Path
) -> None:
    item = intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    world.run_until(lambda: world.stage(item) == "done", timeout_s=100.0)
    good = orch("verify", "--json")
    assert (good.code, good.data["breaches"], good.data["landings"]) == (exits.DONE, [], 1)

    merged = world.git("rev-parse", "main")
    land_again(world, tmp_path)
    never = json.dumps({"merge_sha": "0" * 40})
    change(world.engine.store, "UPDATE effects SET result = CAST(:r AS jsonb) WHERE kind = 'merge_pr'", r=never)
    world.git("branch", f"orch/{item}", merged)
    bad = orch("verify")
    assert bad.code == exits.FAILED
    assert f"I1 {item}: visit 5 was merged 2 times" in bad.out
    assert "is on the base branch without a claim" in bad.out
    assert "is nowhere to be found" in bad.out
    assert f"its branch orch/{item} is still at the forge" in bad.out
    assert "breaches" in bad.out.splitlines()[-1]


def land_again(world: World, tmp_path: Path) -> None:
    """Merge a second time what says that it is the same merge."""
    work, message = tmp_path / "second", world.git("log", "-1", "--format=%B", "main")
    git(tmp_path, "clone", "-q", str(world.repository), str(work))
    git(work, "checkout", "-q", "-b", "side")
    git(work, "commit", "-q", "--allow-empty", "-m", "side")
    git(work, "checkout", "-q", "main")
    git(work, "merge", "-q", "--no-ff", "side", "-m", message)
    git(work, "push", "-q", "origin", "main")


def test_a_repository_that_cannot_be_read_is_told_and_not_taken_for_good(
    orch: Orch, world: World, tmp_path: Path
) -> None:
    intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    world.repository.rename(tmp_path / "moved.git")
    answer = orch("verify", "--json")
    assert answer.code == exits.FAILED
    assert str(world.repository) in answer.err
    assert answer.data["unread"][0].startswith("DEMO:")
