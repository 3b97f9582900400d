"""The gates on what was developed: pushed, inside its scope, reviewed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.configuration import GateConfig
from orchestrator.domain.errors import PermanentError
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import GateOutcome
from orchestrator.gates.check_scope import protected
from tests.gates.scene import BRANCH, NEEDS_CHANGES, Scene, git, verdict

# --- check_branch_pushed -----------------------------------------------------------------------------------------


def test_a_pushed_change_passes(scene: Scene) -> None:
    scene.head({"new.py": "x = 1\n"})
    result = scene.judge("check_branch_pushed")
    assert result.outcome is GateOutcome.PASS
    assert "1 files differ" in result.evidence


def test_a_task_without_a_commit_has_nothing_pushed(scene: Scene) -> None:
    result = scene.judge("check_branch_pushed")
    assert result.outcome is GateOutcome.FAIL
    assert "nothing was committed" in result.evidence


def test_a_branch_that_stands_elsewhere_at_the_forge_fails(scene: Scene) -> None:
    judged = scene.head({"new.py": "x = 1\n"})
    scene.head({"new.py": "x = 2\n"})
    scene.view = replace(scene.view, head_sha=judged)
    result = scene.judge("check_branch_pushed")
    assert result.outcome is GateOutcome.FAIL
    assert judged[:12] in result.evidence


def test_a_branch_that_is_not_at_the_forge_fails(scene: Scene) -> None:
    scene.head({"new.py": "x = 1\n"})
    git(scene.remote, "update-ref", "-d", f"refs/heads/{BRANCH}")
    result = scene.judge("check_branch_pushed")
    assert result.outcome is GateOutcome.FAIL
    assert "stands at nothing" in result.evidence


def test_a_branch_that_changes_nothing_fails(scene: Scene) -> None:
    scene.head({})
    result = scene.judge("check_branch_pushed")
    assert result.outcome is GateOutcome.FAIL
    assert "changes nothing" in result.evidence


# --- check_scope -------------------------------------------------------------------------------------------------


def test_a_change_outside_protected_paths_passes(scene: Scene) -> None:
    scene.head({"src/app.py": "x = 1\n"})
    assert scene.judge("check_scope").outcome is GateOutcome.PASS


def test_a_change_of_protected_paths_fails_and_names_them(scene: Scene) -> None:
    scene.head({"src/app.py": "x = 1\n", ".orchestrator.yml": "test: [true]\n", "deploy/run.sh": "exit\n"})
    result = scene.judge("check_scope")
    assert result.outcome is GateOutcome.FAIL
    assert "- .orchestrator.yml\n- deploy/run.sh" in result.evidence
    assert "src/app.py" not in result.evidence


def test_what_others_changed_on_the_base_branch_is_not_the_tasks_scope(scene: Scene) -> None:
    scene.head({"src/app.py": "x = 1\n"})
    scene.base({".orchestrator.yml": "test: [true]\n"})
    assert scene.judge("check_scope").outcome is GateOutcome.PASS


def test_a_repository_may_allow_protected_changes_and_they_are_still_named(scene: Scene) -> None:
    scene.configure(gates=GateConfig(allow_protected_changes=True))
    scene.head({".orchestrator.yml": "test: [true]\n"})
    result = scene.judge("check_scope")
    assert result.outcome is GateOutcome.PASS
    assert ".orchestrator.yml" in result.evidence


def test_a_link_in_the_place_of_a_protected_folder_is_protected_too() -> None:
    assert protected(["deploy", "deploying/x", "x/deploy/y"], ("deploy/**",)) == ["deploy"]


def test_the_scope_of_a_task_without_a_head_cannot_be_judged(scene: Scene) -> None:
    with pytest.raises(PermanentError, match="no head"):
        scene.judge("check_scope")


# --- check_review_verdict ----------------------------------------------------------------------------------------


def test_a_review_that_passed_this_head_passes(scene: Scene) -> None:
    scene.head({"new.py": "x = 1\n"})
    scene.answered(Stage.REVIEW, verdict())
    assert scene.judge("check_review_verdict").outcome is GateOutcome.PASS


def test_a_review_that_wants_changes_fails_with_its_findings(scene: Scene) -> None:
    scene.head({"new.py": "x = 1\n"})
    scene.answered(Stage.REVIEW, NEEDS_CHANGES)
    result = scene.judge("check_review_verdict")
    assert result.outcome is GateOutcome.FAIL
    assert "two writers, no lock" in result.evidence


def test_a_review_of_another_head_fails(scene: Scene) -> None:
    reviewed = scene.head({"new.py": "x = 1\n"})
    scene.head({"new.py": "x = 2\n"})
    scene.answered(Stage.REVIEW, verdict(), reviewed)
    result = scene.judge("check_review_verdict")
    assert result.outcome is GateOutcome.FAIL
    assert f"speaks of {reviewed[:12]}" in result.evidence


def test_without_a_review_nothing_can_be_judged(scene: Scene) -> None:
    scene.head({"new.py": "x = 1\n"})
    with pytest.raises(PermanentError, match="no verdict of review"):
        scene.judge("check_review_verdict")
