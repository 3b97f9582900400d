"""Deploys: a row is the start; a tombstone takes it back; only what the base branch has goes to production."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from orchestrator.domain.errors import LostRaceError, PermanentError
from orchestrator.domain.ownership import Committed, Owner
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import DeploymentStatus, EffectStatus
from orchestrator.effects import EFFECTS
from orchestrator.effects.contract import Absent, Impossible, Landed
from orchestrator.store import deployments, images
from tests.effects.conftest import WorldMaker
from tests.effects.world import DEPLOYS, RECIPE, World
from tests.fakes.wire import Fault

STAGING, PRODUCTION = EffectKind.START_DEPLOY_STAGING, EffectKind.START_DEPLOY_PRODUCTION
ROLL_BACK = EffectKind.ROLL_BACK_DEPLOY
DEPLOYER = Owner("here", "boot", 1, 4711, 1)


def failed_deploy(world: World, previous: str | None, image: str | None = None) -> int:
    """A production deploy of this visit that failed; before it, ``previous`` was seen to answer."""
    view = world.view()
    ask = partial(deployments.request, task_id=view.task_id, project=world.project, environment="production")
    with world.store.transaction() as connection:
        if previous is not None:
            before = ask(connection, visit=0, sha=previous, image=image)
            deployments.win_running(connection, before.id, DEPLOYER)
            deployments.finish(connection, before.id, DEPLOYER, DeploymentStatus.SUCCEEDED, previous, "")
        row = ask(connection, visit=view.visit, sha="f" * 40)
        assert deployments.win_running(connection, row.id, DEPLOYER) == Committed()
        deployments.finish(connection, row.id, DEPLOYER, DeploymentStatus.FAILED, None, "never healthy")
    return row.id


@pytest.fixture
def testing(make: WorldMaker) -> World:
    """A task that is about to go to staging."""
    world = make(Stage.TESTING)
    world.repository = replace(world.repository, deploys=DEPLOYS)
    return world


@pytest.fixture
def merged(world: World) -> World:
    """A task whose merge is confirmed in this visit."""
    world.repository = replace(world.repository, deploys=DEPLOYS)
    world.run(EffectKind.MERGE_PR, edge=world.forward, candidate=world.candidate())
    return world


@pytest.fixture
def failed(make: WorldMaker) -> World:
    """A task at ``deploy`` whose production deploy failed; the version before it was ``a…``."""
    world = make(Stage.DEPLOY)
    world.repository = replace(world.repository, deploys=DEPLOYS)
    failed_deploy(world, previous="a" * 40, image="old-tag")
    return world


def test_staging_gets_the_judged_head(testing: World) -> None:
    result = testing.run(STAGING, edge=testing.forward)
    (row,) = testing.rows("deployments")
    assert (row["environment"], row["sha"], row["status"]) == ("staging", testing.view().head_sha, "requested")
    assert result == {"deployment": str(row["id"]), "sha": row["sha"]}
    (launched,) = testing.deployer.launched
    assert (launched.deployment_id, launched.spec) == (row["id"], DEPLOYS["staging"])


def test_production_gets_the_merge_that_was_confirmed(merged: World) -> None:
    merged.run(PRODUCTION, edge=merged.forward)
    (row,) = merged.rows("deployments")
    assert (row["environment"], row["sha"]) == ("production", merged.remote.branches["main"])


def test_nothing_goes_to_production_before_a_merge_is_confirmed(world: World) -> None:
    with pytest.raises(PermanentError, match="no merge"):
        world.run(PRODUCTION, edge=world.forward)
    assert world.rows("deployments") == []


def test_the_merge_of_an_earlier_visit_does_not_go_to_production(make: WorldMaker) -> None:
    world = make(Stage.DEPLOY_STAGING)
    world.open_request()
    world.run(EffectKind.MERGE_PR, edge=world.forward, candidate=world.candidate())
    view = world.view()
    context = replace(world.context(PRODUCTION), view=replace(view, stage_seq=view.stage_seq + 4))
    with pytest.raises(PermanentError, match="in this visit"):
        EFFECTS[PRODUCTION].request(context)


def test_what_the_base_branch_does_not_have_may_not_go_to_production(merged: World) -> None:
    decided = dict(merged.context(PRODUCTION).request)
    effect, unmerged = EFFECTS[PRODUCTION], merged.remote.commit("orch/somebody")
    assert effect.look(merged.context(PRODUCTION, request=decided)) == Absent()
    seen = effect.look(merged.context(PRODUCTION, request={**decided, "sha": unmerged}))
    assert isinstance(seen, Impossible) and "base branch" in seen.why


def test_an_environment_without_a_deploy_is_skipped(make: WorldMaker) -> None:
    world = make(Stage.TESTING)
    assert world.run(STAGING, edge=world.forward) == {"skipped": "no deploy of staging is configured"}
    assert world.rows("deployments") == []


def test_a_launch_that_fails_is_left_to_the_finalizer(testing: World) -> None:
    testing.wire.will("launch", Fault.NOT_DONE)
    testing.run(STAGING, edge=testing.forward)
    (row,) = testing.rows("deployments")
    assert row["status"] == "requested"
    assert testing.status(STAGING) is EffectStatus.CONFIRMED


def test_a_row_that_ended_already_is_found_and_not_asked_for_again(testing: World) -> None:
    context = testing.context(STAGING)
    EFFECTS[STAGING].act(context, testing.enter())
    with testing.store.transaction() as connection:
        row = deployments.for_task(connection, testing.task_id)[0]
        deployments.win_running(connection, row.id, DEPLOYER)
        deployments.finish(connection, row.id, DEPLOYER, DeploymentStatus.FAILED, None, "")
    assert isinstance(EFFECTS[STAGING].look(context), Landed)


def test_a_withdrawn_deploy_leaves_a_tombstone_that_a_late_request_finds(testing: World) -> None:
    context = testing.context(STAGING)
    EFFECTS[STAGING].revoke(context, testing.enter())
    seen = EFFECTS[STAGING].look(context)
    assert isinstance(seen, Impossible) and "revoked" in seen.why
    EFFECTS[STAGING].act(context, testing.enter())
    assert [row["status"] for row in testing.rows("deployments")] == ["revoked"]
    assert testing.deployer.launched == []


def test_a_requested_deploy_is_withdrawn(testing: World) -> None:
    context = testing.context(STAGING)
    EFFECTS[STAGING].act(context, testing.enter())
    EFFECTS[STAGING].revoke(context, testing.enter())
    assert isinstance(EFFECTS[STAGING].look(context), Impossible)


def test_a_running_deploy_is_not_withdrawn_but_seen(testing: World) -> None:
    context = testing.context(STAGING)
    EFFECTS[STAGING].act(context, testing.enter())
    with testing.store.transaction() as connection:
        row = deployments.for_task(connection, testing.task_id)[0]
        assert deployments.win_running(connection, row.id, DEPLOYER) == Committed()
    EFFECTS[STAGING].revoke(context, testing.enter())
    assert isinstance(EFFECTS[STAGING].look(context), Landed)


def test_an_owner_whose_lease_was_taken_away_starts_nothing(testing: World) -> None:
    stale = testing.enter()
    context = testing.context(STAGING)
    with pytest.raises(LostRaceError):
        EFFECTS[STAGING].act(context, stale)
    with pytest.raises(LostRaceError):
        EFFECTS[STAGING].revoke(context, stale)
    assert testing.rows("deployments") == []


def test_production_is_deployed_with_the_image_that_was_built_in_this_visit(world: World) -> None:
    world.repository = replace(world.repository, deploys=DEPLOYS, image=RECIPE)
    scene = {"edge": world.forward, "candidate": world.candidate()}
    tag = world.run(EffectKind.REBUILD_IMAGE, **scene)["tag"]
    world.run(EffectKind.MERGE_PR, **scene)
    world.run(PRODUCTION, edge=world.forward)
    assert [row["image"] for row in world.rows("deployments")] == [tag]
    assert world.deployer.launched[-1].image == tag


def test_staging_is_deployed_with_a_fresh_image_where_there_is_one(testing: World) -> None:
    testing.repository = replace(testing.repository, image=RECIPE)
    assert testing.context(STAGING).request["image"] == ""
    digest = EFFECTS[EffectKind.REBUILD_IMAGE].request(testing.context(STAGING))["recipe"]
    with testing.store.transaction() as connection:
        images.record_if_epoch_holds(connection, testing.enter(), images.BuiltImage(testing.project, "tag", digest))
    assert testing.context(STAGING).request["image"] == "tag"


def test_a_failed_deploy_is_followed_by_the_version_before_it(failed: World) -> None:
    result = failed.run(ROLL_BACK)
    row = next(one for one in failed.rows("deployments") if one["kind"] == "roll_back")
    assert (row["sha"], row["image"], row["status"]) == ("a" * 40, "old-tag", "requested")
    assert result["deployment"] == str(row["id"])
    assert failed.deployer.launched[-1].sha == "a" * 40


def test_where_nothing_was_before_nothing_is_put_back(make: WorldMaker) -> None:
    world = make(Stage.DEPLOY)
    world.repository = replace(world.repository, deploys=DEPLOYS)
    failed_deploy(world, previous=None)
    assert world.run(ROLL_BACK) == {"skipped": "production had no version before"}
    assert len(world.rows("deployments")) == 1


def test_without_a_failed_deployment_nothing_is_rolled_back(make: WorldMaker) -> None:
    with pytest.raises(PermanentError, match="no failed deployment"):
        make(Stage.DEPLOY).run(ROLL_BACK)


def test_a_roll_back_is_withdrawn_by_a_tombstone_of_its_own(failed: World) -> None:
    context = failed.context(ROLL_BACK)
    EFFECTS[ROLL_BACK].revoke(context, failed.enter())
    assert isinstance(EFFECTS[ROLL_BACK].look(context), Impossible)
    assert sorted(str(row["kind"]) for row in failed.rows("deployments")) == ["deploy", "deploy", "roll_back"]
