"""Every effect, whenever its owner dies and whatever the wire does: the outside is changed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from orchestrator import failpoints
from orchestrator.domain.errors import TransientError
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import EffectStatus
from orchestrator.effects import EFFECTS
from orchestrator.failpoints import FailpointError
from tests.effects.conftest import WorldMaker
from tests.effects.world import DEPLOYS, RECIPE, World
from tests.fakes.wire import Fault

Scene = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """An effect that is due. ``method`` is its request on the wire; None where the outside is a row of ours."""

    stage: Stage
    prepare: Callable[[World], Scene]
    count: Callable[[World], int]
    method: str | None = None


def _open_pr(world: World) -> Scene:
    return {"edge": world.forward, "note": "Please read."}


def _merge_pr(world: World) -> Scene:
    world.open_request()
    return {"edge": world.forward, "candidate": world.candidate()}


def _ratchet(world: World) -> Scene:
    world.measured(0.8)
    return {"edge": world.forward, "candidate": world.candidate()}


def _rebuild(world: World) -> Scene:
    world.repository = replace(world.repository, image=RECIPE)
    return {"edge": world.forward, "candidate": world.candidate()}


def _start_staging(world: World) -> Scene:
    world.repository = replace(world.repository, deploys=DEPLOYS)
    return {"edge": world.forward}


def _start_production(world: World) -> Scene:
    world.repository = replace(world.repository, deploys=DEPLOYS)
    world.open_request()
    world.run(EffectKind.MERGE_PR, edge=world.forward, candidate=world.candidate())
    return {"edge": world.forward}


def _roll_back(world: World) -> Scene:
    from tests.effects.test_deploys import failed_deploy

    world.repository = replace(world.repository, deploys=DEPLOYS)
    failed_deploy(world, previous="a" * 40)
    return {"edge": None}


def _cleanup(world: World) -> Scene:
    world.open_request()
    return {"edge": world.cancel, "cleanup": True}


def _delete_branch(world: World) -> Scene:
    return {"edge": world.cancel, "cleanup": True}


def _remove_worktree(world: World) -> Scene:
    world.workspaces.prepare(world.branch)
    return {"edge": world.cancel, "cleanup": True}


def _say(world: World) -> Scene:
    return {"edge": world.forward, "note": "It goes on.", "occasion": "review-to-testing"}


def _wire(method: str) -> Callable[[World], int]:
    return lambda world: world.wire.count(method)


def _rows(table: str, **values: object) -> Callable[[World], int]:
    return lambda world: sum(all(row[k] == v for k, v in values.items()) for row in world.rows(table))


CASES = {
    EffectKind.TRACKER_STATE: Case(Stage.DEPLOY, _say, _wire("set_state"), "set_state"),
    EffectKind.TRACKER_COMMENT: Case(Stage.REVIEW, _say, _wire("add_comment"), "add_comment"),
    EffectKind.NOTIFY: Case(Stage.DEPLOY, _say, _wire("send")),
    EffectKind.OPEN_PR: Case(Stage.DEVELOPMENT, _open_pr, _wire("open_pull_request"), "open_pull_request"),
    EffectKind.MERGE_PR: Case(Stage.DEPLOY_STAGING, _merge_pr, _wire("merge_pull_request"), "merge_pull_request"),
    EffectKind.RATCHET_COVERAGE: Case(Stage.DEPLOY_STAGING, _ratchet, _rows("coverage_baselines")),
    EffectKind.REBUILD_IMAGE: Case(Stage.DEPLOY_STAGING, _rebuild, _rows("images")),
    EffectKind.START_DEPLOY_STAGING: Case(Stage.TESTING, _start_staging, _rows("deployments", kind="deploy"), "launch"),
    EffectKind.START_DEPLOY_PRODUCTION: Case(
        Stage.DEPLOY_STAGING, _start_production, _rows("deployments", environment="production"), "launch"
    ),
    EffectKind.ROLL_BACK_DEPLOY: Case(Stage.DEPLOY, _roll_back, _rows("deployments", kind="roll_back"), "launch"),
    EffectKind.CLOSE_PR: Case(Stage.REVIEW, _cleanup, _wire("close_pull_request"), "close_pull_request"),
    EffectKind.DELETE_BRANCH: Case(Stage.REVIEW, _delete_branch, _wire("delete_branch"), "delete_branch"),
    EffectKind.REMOVE_WORKTREE: Case(Stage.REVIEW, _remove_worktree, _wire("remove"), "remove"),
}
KEYED = [kind for kind in CASES if not EFFECTS[kind].keyless]
ON_THE_WIRE = [kind for kind in KEYED if CASES[kind].method]


def test_no_kind_of_effect_is_missing() -> None:
    assert set(EFFECTS) == set(EffectKind) == set(CASES)
    assert all(effect.kind is kind for kind, effect in EFFECTS.items())


def test_only_a_notification_has_no_key() -> None:
    assert [kind for kind, effect in EFFECTS.items() if effect.keyless] == [EffectKind.NOTIFY]


@pytest.mark.parametrize("kind", KEYED)
@pytest.mark.parametrize("moment", ["claimed", "looked", "sent", "answered", "confirmed"])
def test_an_owner_that_dies_leaves_an_effect_that_happens_once(make: WorldMaker, kind: EffectKind, moment: str) -> None:
    world = make(CASES[kind].stage)
    scene = CASES[kind].prepare(world)
    failpoints.arm(f"effect.{kind}.{moment}=raise")
    with pytest.raises(FailpointError):
        world.run(kind, **scene)
    before = CASES[kind].count(world)
    assert before == (moment in ("answered", "confirmed"))
    world.run(kind, **scene)
    world.run(kind, **scene)
    assert CASES[kind].count(world) == 1
    assert [row.status for row in world.ledger(kind)] == [EffectStatus.CONFIRMED]


@pytest.mark.parametrize("kind", ON_THE_WIRE)
@pytest.mark.parametrize("fault", Fault)
def test_an_answer_that_never_came_leaves_an_effect_that_happens_once(
    make: WorldMaker, kind: EffectKind, fault: Fault
) -> None:
    case, world = CASES[kind], make(CASES[kind].stage)
    scene = case.prepare(world)
    world.wire.will(case.method or "", fault)
    world.run(kind, **scene)
    world.wire.deliver()
    world.run(kind, **scene)
    assert case.count(world) == 1
    assert world.status(kind) is EffectStatus.CONFIRMED


@pytest.mark.parametrize("kind", [kind for kind in ON_THE_WIRE if CASES[kind].method != "launch"])
def test_an_outside_that_never_answers_leaves_the_claim_open_for_the_next_pass(
    make: WorldMaker, kind: EffectKind
) -> None:
    case, world = CASES[kind], make(CASES[kind].stage)
    scene = case.prepare(world)
    world.wire.will(case.method or "", *[Fault.NOT_DONE] * 3)
    with pytest.raises(TransientError):
        world.run(kind, **scene)
    assert case.count(world) == 0
    assert world.status(kind) is EffectStatus.CLAIMED
    world.run(kind, **scene)
    assert case.count(world) == 1


@pytest.mark.parametrize(("moment", "told"), [("claimed", 1), ("sent", 1), ("answered", 2), ("confirmed", 1)])
def test_people_are_told_again_at_most_once_a_fault(make: WorldMaker, moment: str, told: int) -> None:
    world = make(Stage.DEPLOY)
    failpoints.arm(f"effect.notify.{moment}=raise")
    with pytest.raises(FailpointError):
        world.run(EffectKind.NOTIFY, **_say(world))
    for _ in range(2):
        world.run(EffectKind.NOTIFY, **_say(world))
    assert [len(one.said) for one in world.notifiers] == [told, told]
