"""What must answer in staging and production, and whom it waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from orchestrator.domain.configuration import Approval, DeploySpec
from orchestrator.domain.errors import PermanentError
from orchestrator.domain.ownership import Committed, Owner
from orchestrator.domain.views import DeploymentStatus, GateOutcome
from orchestrator.gates.environments import PATIENCE
from orchestrator.store import deployments
from tests.gates.scene import PROJECT, Scene, deployment

STAGING, PRODUCTION = "check_staging_healthy", "check_deploy_observed"
BAD_ENDS = [DeploymentStatus.FAILED, DeploymentStatus.ROLLED_BACK, DeploymentStatus.REVOKED]
ON_ITS_WAY = [DeploymentStatus.REQUESTED, DeploymentStatus.RUNNING]


def in_staging(scene: Scene, status: DeploymentStatus = DeploymentStatus.SUCCEEDED) -> str:
    head = scene.head({"new.py": "x = 1\n"})
    scene.configure(deploys={"staging": DeploySpec()})
    scene.deployed(deployment("staging", head, status, "port 80 is taken"))
    return head


def in_production(scene: Scene, status: DeploymentStatus = DeploymentStatus.SUCCEEDED) -> str:
    merged = scene.base({"new.py": "x = 1\n"})
    scene.configure(deploys={"production": DeploySpec()})
    scene.view = replace(scene.view, merged_sha=merged)
    scene.deployed(deployment("staging", merged, DeploymentStatus.FAILED), deployment("production", merged, status))
    return merged


# --- staging -----------------------------------------------------------------------------------------------------


def test_a_repository_without_staging_passes_and_says_so(scene: Scene) -> None:
    scene.head({"new.py": "x = 1\n"})
    result = scene.judge(STAGING)
    assert (result.outcome, result.evidence) == (GateOutcome.PASS, "no staging environment is configured")


def test_the_judged_head_that_answers_healthy_in_staging_passes(scene: Scene) -> None:
    scene.answers(in_staging(scene))
    assert scene.judge(STAGING).outcome is GateOutcome.PASS


@pytest.mark.parametrize("status", ON_ITS_WAY)
def test_a_staging_deployment_on_its_way_is_waited_for_without_end(scene: Scene, status: DeploymentStatus) -> None:
    in_staging(scene, status)
    outcomes = {scene.judge(STAGING).outcome for _ in range(PATIENCE + 3)}
    assert outcomes == {GateOutcome.WAIT}


@pytest.mark.parametrize("status", BAD_ENDS)
def test_a_staging_deployment_that_ended_badly_fails_with_its_detail(scene: Scene, status: DeploymentStatus) -> None:
    scene.answers(in_staging(scene, status))
    result = scene.judge(STAGING)
    assert (result.outcome, "port 80 is taken" in result.evidence) == (GateOutcome.FAIL, True)


def test_a_staging_that_answers_wrongly_is_waited_for_a_few_times_and_then_fails(stored_scene: Scene) -> None:
    head = in_staging(stored_scene)
    stored_scene.answers(head, healthy=False)
    outcomes = [stored_scene.judge(STAGING).outcome for _ in range(PATIENCE + 1)]
    assert outcomes == [GateOutcome.WAIT] * PATIENCE + [GateOutcome.FAIL]


def test_waiting_for_the_deployment_does_not_use_up_the_patience_with_what_answers(stored_scene: Scene) -> None:
    head = in_staging(stored_scene, DeploymentStatus.RUNNING)
    for _ in range(PATIENCE + 1):
        stored_scene.judge(STAGING)
    stored_scene.deployed(deployment("staging", head, DeploymentStatus.SUCCEEDED))
    stored_scene.answers(None, healthy=False)
    assert stored_scene.judge(STAGING).outcome is GateOutcome.WAIT


def test_another_version_in_staging_is_not_the_judged_head(stored_scene: Scene) -> None:
    in_staging(stored_scene)
    stored_scene.answers(stored_scene.base_sha)
    result = stored_scene.judge(STAGING)
    assert (result.outcome, stored_scene.base_sha[:12] in result.evidence) == (GateOutcome.WAIT, True)


def test_a_staging_deployment_of_an_earlier_head_fails(scene: Scene) -> None:
    scene.answers(in_staging(scene))
    scene.head({"late.py": ""})
    assert scene.judge(STAGING).outcome is GateOutcome.FAIL


def test_staging_that_was_never_deployed_to_fails(scene: Scene) -> None:
    in_staging(scene)
    scene.deployed()
    assert scene.judge(STAGING).outcome is GateOutcome.FAIL


def test_the_newest_staging_deployment_counts(scene: Scene) -> None:
    head = in_staging(scene, DeploymentStatus.FAILED)
    scene.deployed(*scene.view.deployments, deployment("staging", head, DeploymentStatus.SUCCEEDED))
    scene.answers(head)
    assert scene.judge(STAGING).outcome is GateOutcome.PASS


def began(scene: Scene, owner_pid: int, sha: str, *, ended: bool) -> int:
    """A staging deployment of a task of its own that a deployer has won; its id."""
    assert scene.store is not None
    with scene.store.transaction() as connection:
        new = text("INSERT INTO tasks (work_item, project, title, branch) VALUES (:i, :p, 't', 'b') RETURNING id")
        task = int(connection.execute(new, {"i": f"{PROJECT}-{owner_pid}", "p": PROJECT}).scalar_one())
        row = deployments.request(
            connection, task_id=task, visit=1, project=PROJECT, environment="staging", sha=sha, kind="deploy"
        )
        owner = Owner("n", "b", 1, owner_pid, 1)
        assert deployments.win_running(connection, row.id, owner) == Committed()
        if ended:
            deployments.finish(connection, row.id, owner, DeploymentStatus.SUCCEEDED, sha, "seen")
    return row.id


def test_a_head_that_was_healthy_in_staging_until_another_item_came_passes(stored_scene: Scene) -> None:
    head = in_staging(stored_scene)
    ours = began(stored_scene, 10, head, ended=True)
    stored_scene.deployed(replace(stored_scene.view.deployments[0], id=ours))
    stored_scene.answers(None, healthy=False)
    assert stored_scene.judge(STAGING).outcome is GateOutcome.WAIT
    began(stored_scene, 11, "c" * 40, ended=False)
    result = stored_scene.judge(STAGING)
    assert (result.outcome, f"{PROJECT}-11 took its place" in result.evidence) == (GateOutcome.PASS, True)


# --- production --------------------------------------------------------------------------------------------------


def test_a_repository_without_production_passes_and_says_so(scene: Scene) -> None:
    result = scene.judge(PRODUCTION)
    assert (result.outcome, result.evidence) == (GateOutcome.PASS, "no production environment is configured")


def test_the_merge_commit_that_answers_healthy_in_production_passes(scene: Scene) -> None:
    scene.answers(in_production(scene))
    assert scene.judge(PRODUCTION).outcome is GateOutcome.PASS


@pytest.mark.parametrize("status", ON_ITS_WAY)
def test_a_production_deployment_on_its_way_is_waited_for(scene: Scene, status: DeploymentStatus) -> None:
    in_production(scene, status)
    assert scene.judge(PRODUCTION).outcome is GateOutcome.WAIT


@pytest.mark.parametrize("status", BAD_ENDS)
def test_a_production_deployment_that_ended_badly_fails_with_its_detail(scene: Scene, status: DeploymentStatus) -> None:
    in_production(scene, status)
    result = scene.judge(PRODUCTION)
    assert (result.outcome, str(status) in result.evidence) == (GateOutcome.FAIL, True)


def test_a_newer_version_that_contains_the_merge_passes_and_says_so(scene: Scene) -> None:
    in_production(scene)
    newer = scene.base({"newer.py": "x = 1\n"})
    scene.answers(newer)
    result = scene.judge(PRODUCTION)
    assert (result.outcome, "contains the merge commit" in result.evidence) == (GateOutcome.PASS, True)


def test_a_newer_version_that_is_not_healthy_does_not_stand_for_the_merge(scene: Scene) -> None:
    in_production(scene)
    scene.answers(scene.base({"newer.py": "x = 1\n"}), healthy=False)
    assert scene.judge(PRODUCTION).outcome is GateOutcome.WAIT


@pytest.mark.parametrize("version", ["before", None, "v1.2.3", "a" * 40])
def test_anything_else_that_answers_is_waited_for_and_then_fails(scene: Scene, version: str | None) -> None:
    before = scene.base_sha
    in_production(scene)
    scene.answers(before if version == "before" else version)
    outcomes = [scene.judge(PRODUCTION).outcome for _ in range(PATIENCE + 1)]
    assert outcomes == [GateOutcome.WAIT] * PATIENCE + [GateOutcome.FAIL]


def test_a_deployment_of_another_version_is_not_the_merges(scene: Scene) -> None:
    in_production(scene)
    scene.deployed(deployment("production", "b" * 40, DeploymentStatus.SUCCEEDED))
    with pytest.raises(PermanentError, match="was asked for"):
        scene.judge(PRODUCTION)


def test_without_a_merge_nothing_can_be_observed(scene: Scene) -> None:
    in_production(scene)
    scene.view = replace(scene.view, merged_sha=None)
    with pytest.raises(PermanentError, match="no merge commit"):
        scene.judge(PRODUCTION)


# --- approval ----------------------------------------------------------------------------------------------------


def test_no_approval_is_asked_for_where_none_is_required(scene: Scene) -> None:
    assert scene.judge("check_approval").outcome is GateOutcome.PASS


def test_a_required_approval_is_waited_for_and_says_how_to_give_it(scene: Scene) -> None:
    scene.view = replace(scene.view, policy=replace(scene.view.policy, approval=Approval.REQUIRED))
    result = scene.judge("check_approval")
    assert (result.outcome, result.evidence) == (GateOutcome.WAIT, "needs approval: orch approve D-1")
    assert result.retry_after_s == 3600
    scene.view = replace(scene.view, approved_by="grace")
    result = scene.judge("check_approval")
    assert (result.outcome, result.evidence) == (GateOutcome.PASS, "approved by grace")
