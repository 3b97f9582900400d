"""Green: by statuses of others, and by our own run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from orchestrator.domain.configuration import CiConfig, GateConfig
from orchestrator.domain.errors import TransientError
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import GateOutcome, GateResult
from orchestrator.ports import OWN_CONTEXT, StatusState
from orchestrator.store.database import Store
from tests.gates.scene import NEEDS_CHANGES, PROJECT, Scene, verdict

PENDING, SUCCESS, FAILURE = StatusState.PENDING, StatusState.SUCCESS, StatusState.FAILURE


def by_statuses(scene: Scene, *required: str) -> str:
    scene.configure(gates=GateConfig(ci=CiConfig("statuses", required)))
    return scene.head({"new.py": "x = 1\n"})


def by_running(scene: Scene, *command: str, required: tuple[str, ...] = ()) -> str:
    scene.configure(gates=GateConfig(ci=CiConfig("run", required)), test=command)
    return scene.head({"check.sh": "echo ran >> ../../../runs; exit 0\n"})


def runs(scene: Scene) -> int:
    """How often the tests ran: each run leaves a line beside the checkouts."""
    marks = scene.folder / "node" / "runs"
    return len(marks.read_text().splitlines()) if marks.exists() else 0


def keep(store: Store | None, gate: str, result: GateResult) -> None:
    """Store a result as the engine does."""
    assert store is not None
    with store.transaction() as connection:
        task = connection.execute(
            text("INSERT INTO tasks (work_item, project, title, branch) VALUES (:i, :p, 't', 'b') RETURNING id"),
            {"i": f"{gate}-{result.head_sha}", "p": PROJECT},
        ).scalar_one()
        connection.execute(
            text(
                """INSERT INTO gate_results (task_id, project, visit, round, gate, outcome, evidence, tree_sha,
                config_digest, epoch, figure)
                VALUES (:task, :p, 0, 0, :gate, :outcome, :evidence, :tree, :config, 1, :f)"""
            ),
            {
                "task": task,
                "p": PROJECT,
                "gate": gate,
                "outcome": result.outcome,
                "evidence": result.evidence,
                "tree": result.tree_sha,
                "config": result.config_digest,
                "f": result.figure,
            },
        )


# --- statuses of others ------------------------------------------------------------------------------------------


def test_no_status_yet_waits(scene: Scene) -> None:
    by_statuses(scene)
    assert scene.judge("check_ci_green").outcome is GateOutcome.WAIT


def test_a_required_status_that_is_missing_or_pending_waits_and_is_named(scene: Scene) -> None:
    head = by_statuses(scene, "build", "unit")
    scene.forge.set_status(head, "build", SUCCESS, "")
    result = scene.judge("check_ci_green")
    assert (result.outcome, "unit" in result.evidence) == (GateOutcome.WAIT, True)
    scene.forge.set_status(head, "unit", PENDING, "")
    assert scene.judge("check_ci_green").outcome is GateOutcome.WAIT
    scene.forge.set_status(head, "unit", SUCCESS, "")
    assert scene.judge("check_ci_green").outcome is GateOutcome.PASS


def test_a_status_that_nobody_requires_does_not_decide(scene: Scene) -> None:
    head = by_statuses(scene, "unit")
    scene.forge.set_status(head, "unit", SUCCESS, "")
    scene.forge.set_status(head, "flaky", FAILURE, "")
    assert scene.judge("check_ci_green").outcome is GateOutcome.PASS


def test_without_required_ones_every_reported_status_decides(scene: Scene) -> None:
    head = by_statuses(scene)
    scene.forge.set_status(head, "unit", SUCCESS, "")
    assert scene.judge("check_ci_green").outcome is GateOutcome.PASS
    scene.forge.set_status(head, "lint", FAILURE, "3 errors")
    result = scene.judge("check_ci_green")
    assert (result.outcome, result.evidence) == (GateOutcome.FAIL, "lint: failure: 3 errors")


def test_one_failure_fails_although_others_are_still_pending(scene: Scene) -> None:
    head = by_statuses(scene, "build", "unit")
    scene.forge.set_status(head, "build", FAILURE, "")
    assert scene.judge("check_ci_green").outcome is GateOutcome.FAIL


def test_our_own_status_of_former_days_is_not_one_of_others(scene: Scene) -> None:
    head = by_statuses(scene)
    scene.forge.set_status(head, OWN_CONTEXT, SUCCESS, "")
    assert scene.judge("check_ci_green").outcome is GateOutcome.WAIT


# --- our own run -------------------------------------------------------------------------------------------------


def test_without_a_test_command_nothing_runs_and_it_says_so(scene: Scene) -> None:
    by_running(scene)
    result = scene.judge("check_ci_green")
    assert (result.outcome, "nothing was run" in result.evidence) == (GateOutcome.PASS, True)


def test_tests_that_pass_are_reported_to_the_forge(stored_scene: Scene) -> None:
    head = by_running(stored_scene, "sh", "check.sh")
    result = stored_scene.judge("check_ci_green")
    assert result.outcome is GateOutcome.PASS
    assert result.tree_sha == stored_scene.work.tree_of(head)
    assert stored_scene.forge.state(head, OWN_CONTEXT) is SUCCESS


def test_tests_that_fail_are_reported_to_the_forge_and_shown_to_the_next_agent(stored_scene: Scene) -> None:
    head = by_running(stored_scene, "sh", "-c", "echo test_it failed; exit 1")
    result = stored_scene.judge("check_ci_green")
    assert result.outcome is GateOutcome.FAIL
    assert result.evidence.endswith("test_it failed")
    assert stored_scene.forge.state(head, OWN_CONTEXT) is FAILURE


def test_tests_that_cannot_run_are_no_fail_and_leave_no_status(stored_scene: Scene) -> None:
    head = by_running(stored_scene, "no-such-program")
    with pytest.raises(TransientError):
        stored_scene.judge("check_ci_green")
    assert stored_scene.forge.state(head, OWN_CONTEXT) is None


def test_a_status_that_cannot_be_read_back_is_not_green(stored_scene: Scene) -> None:
    by_running(stored_scene, "sh", "check.sh")
    stored_scene.forge.deaf = True
    with pytest.raises(TransientError, match="cannot be read back"):
        stored_scene.judge("check_ci_green")


def test_required_statuses_of_others_count_beside_our_own_run(stored_scene: Scene) -> None:
    head = by_running(stored_scene, "sh", "check.sh", required=("licence",))
    result = stored_scene.judge("check_ci_green")
    assert (result.outcome, "licence" in result.evidence) == (GateOutcome.WAIT, True)
    stored_scene.forge.set_status(head, "licence", SUCCESS, "")
    assert stored_scene.judge("check_ci_green").outcome is GateOutcome.PASS


def test_the_same_tree_is_not_tested_twice_but_its_new_head_gets_its_status(stored_scene: Scene) -> None:
    by_running(stored_scene, "sh", "check.sh")
    keep(stored_scene.store, "check_ci_green", stored_scene.judge("check_ci_green"))
    assert runs(stored_scene) == 1
    again = stored_scene.head({})
    assert stored_scene.judge("check_ci_green").outcome is GateOutcome.PASS
    assert runs(stored_scene) == 1
    assert stored_scene.forge.state(again, OWN_CONTEXT) is SUCCESS


def test_the_same_tree_under_another_test_command_is_tested_again(stored_scene: Scene) -> None:
    by_running(stored_scene, "sh", "check.sh")
    keep(stored_scene.store, "check_ci_green", stored_scene.judge("check_ci_green"))
    stored_scene.configure(test=("sh", "check.sh", "--all"))
    stored_scene.judge("check_ci_green")
    assert runs(stored_scene) == 2


# --- check_tests_pass --------------------------------------------------------------------------------------------


def test_testing_passes_with_its_verdict_on_a_head_that_was_tested_before(stored_scene: Scene) -> None:
    by_running(stored_scene, "sh", "check.sh")
    keep(stored_scene.store, "check_ci_green", stored_scene.judge("check_ci_green"))
    stored_scene.answered(Stage.TESTING, verdict())
    assert stored_scene.judge("check_tests_pass").outcome is GateOutcome.PASS
    assert runs(stored_scene) == 1


def test_a_head_that_the_tester_made_is_tested_before_it_goes_on(stored_scene: Scene) -> None:
    by_running(stored_scene, "sh", "check.sh")
    keep(stored_scene.store, "check_ci_green", stored_scene.judge("check_ci_green"))
    stored_scene.head({"check.sh": "echo new test is red; exit 1\n"})
    stored_scene.answered(Stage.TESTING, verdict())
    result = stored_scene.judge("check_tests_pass")
    assert (result.outcome, "new test is red" in result.evidence) == (GateOutcome.FAIL, True)


def test_testing_of_another_head_fails(scene: Scene) -> None:
    tested = by_running(scene)
    scene.answered(Stage.TESTING, verdict(), tested)
    scene.view = replace(scene.view, head_sha=scene.head({"late.py": ""}))
    assert scene.judge("check_tests_pass").outcome is GateOutcome.FAIL


def test_testing_that_found_something_fails_with_it(scene: Scene) -> None:
    by_running(scene)
    scene.answered(Stage.TESTING, NEEDS_CHANGES)
    result = scene.judge("check_tests_pass")
    assert (result.outcome, "a race" in result.evidence) == (GateOutcome.FAIL, True)


def test_testing_waits_for_the_statuses_of_its_head(scene: Scene) -> None:
    head = by_statuses(scene, "unit")
    scene.answered(Stage.TESTING, verdict())
    assert scene.judge("check_tests_pass").outcome is GateOutcome.WAIT
    scene.forge.set_status(head, "unit", SUCCESS, "")
    assert scene.judge("check_tests_pass").outcome is GateOutcome.PASS
