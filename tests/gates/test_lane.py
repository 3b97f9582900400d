"""The gates on a merge result: re-test, coverage, dilution, secrets, image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import pytest
from sqlalchemy import text

from orchestrator.domain import images
from orchestrator.domain.configuration import GateConfig, ImageRecipe
from orchestrator.domain.errors import PermanentError, TransientError
from orchestrator.domain.views import GateOutcome
from orchestrator.gates.secret_scan import ALLOW_MARK
from orchestrator.ports import MergeCandidate
from orchestrator.store.database import Store
from tests.gates.scene import PROJECT, Scene
from tests.gates.test_ci import keep, runs

MERGEABLE, SECURITY = "check_branch_mergeable", "check_security"
KEY = "AKIA" + "Q7ZT2LX9VB4NW8RK"


def conflict(scene: Scene) -> None:
    scene.head({"app.py": "one = 2\n"})
    scene.base({"app.py": "one = 3\n"})
    scene.merge()


# --- every gate of the lane --------------------------------------------------------------------------------------

JUDGES = [MERGEABLE, "check_coverage", "check_test_dilution", "check_image_fresh"]


def with_everything(scene: Scene) -> None:
    gates = GateConfig(coverage_report="coverage.xml")
    scene.configure(gates=gates, test=("true",), image=ImageRecipe(("Dockerfile",), ("true",)))


@pytest.mark.parametrize("gate", JUDGES)
def test_a_conflict_fails_and_names_its_files(scene: Scene, gate: str) -> None:
    with_everything(scene)
    conflict(scene)
    result = scene.judge(gate)
    assert (result.outcome, "- app.py" in result.evidence) == (GateOutcome.FAIL, True)


@pytest.mark.parametrize("gate", JUDGES)
def test_without_a_merge_nothing_can_be_judged(scene: Scene, gate: str) -> None:
    with_everything(scene)
    scene.head({"app.py": "one = 2\n"})
    with pytest.raises(PermanentError, match="no merge"):
        scene.judge(gate)


# --- check_branch_mergeable --------------------------------------------------------------------------------------


def test_a_merge_result_that_passes_the_tests_passes_bound_to_its_tree(scene: Scene) -> None:
    scene.configure(test=("sh", "check.sh"))
    scene.head({"check.sh": "test -f of-base.py\n"})
    scene.base({"of-base.py": ""})
    merged = cast("MergeCandidate", scene.merge())
    result = scene.judge(MERGEABLE)
    assert (result.outcome, result.tree_sha, result.base_sha) == (GateOutcome.PASS, merged.tree_sha, scene.base_sha)


def test_two_good_changes_that_break_each_other_fail_with_the_end_of_the_output(scene: Scene) -> None:
    scene.configure(test=("sh", "-c", "! grep -q 2 *.py || { echo they clash; exit 1; }"))
    scene.head({"mine.py": "1\n"})
    scene.base({"theirs.py": "2\n"})
    scene.merge()
    result = scene.judge(MERGEABLE)
    assert (result.outcome, result.evidence.endswith("they clash")) == (GateOutcome.FAIL, True)


def test_a_re_test_that_cannot_run_is_no_fail(scene: Scene) -> None:
    scene.configure(test=("no-such-program",))
    scene.head({"mine.py": "1\n"})
    scene.merge()
    with pytest.raises(TransientError):
        scene.judge(MERGEABLE)


def test_without_a_test_command_a_clean_merge_passes_and_says_so(scene: Scene) -> None:
    scene.head({"mine.py": "1\n"})
    scene.merge()
    result = scene.judge(MERGEABLE)
    assert (result.outcome, "nothing was run" in result.evidence) == (GateOutcome.PASS, True)


# --- check_coverage ----------------------------------------------------------------------------------------------


def covered(scene: Scene, share: str, tolerance: float = 0.0) -> None:
    """The tests of the merge result leave a report with this line rate."""
    report = f'<?xml version="1.0"?><coverage line-rate="{share}"></coverage>'
    scene.configure(
        gates=GateConfig(coverage_report="coverage.xml", coverage_tolerance=tolerance), test=("sh", "check.sh")
    )
    scene.head({"check.sh": f"echo ran >> ../../../runs; echo '{report}' > coverage.xml\n"})
    scene.merge()


def has_baseline(scene: Scene, share: str) -> None:
    assert scene.store is not None
    with scene.store.transaction() as connection:
        statement = "INSERT INTO coverage_baselines (project, base_branch, line_rate, sha) VALUES (:p, 'main', :r, 's')"
        connection.execute(text(statement), {"p": PROJECT, "r": share})


def test_without_a_configured_report_coverage_passes_and_says_so(scene: Scene) -> None:
    scene.head({"mine.py": "1\n"})
    scene.merge()
    result = scene.judge("check_coverage")
    assert (result.outcome, result.evidence) == (GateOutcome.PASS, "no coverage report is configured")


@pytest.mark.parametrize(
    ("baseline", "share", "tolerance", "outcome"),
    [
        (None, "0.1", 0.0, GateOutcome.PASS),
        ("0.8", "0.8", 0.0, GateOutcome.PASS),
        ("0.8", "0.7999", 0.0, GateOutcome.FAIL),
        ("0.8", "0.79", 0.01, GateOutcome.PASS),
        ("0.8", "0.7899", 0.01, GateOutcome.FAIL),
    ],
)
def test_coverage_must_reach_the_baseline_less_the_tolerance(
    stored_scene: Scene, baseline: str | None, share: str, tolerance: float, outcome: GateOutcome
) -> None:
    if baseline is not None:
        has_baseline(stored_scene, baseline)
    covered(stored_scene, share, tolerance)
    result = stored_scene.judge("check_coverage")
    assert (result.outcome, result.figure) == (outcome, float(share))


def test_the_re_test_measures_and_coverage_does_not_run_the_tests_again(stored_scene: Scene) -> None:
    covered(stored_scene, "0.75")
    retested = stored_scene.judge(MERGEABLE)
    assert (retested.outcome, retested.figure) == (GateOutcome.PASS, 0.75)
    keep(stored_scene.store, MERGEABLE, retested)
    result = stored_scene.judge("check_coverage")
    assert (result.outcome, result.figure, runs(stored_scene)) == (GateOutcome.PASS, 0.75, 1)


def test_the_figure_of_another_tree_does_not_count(stored_scene: Scene) -> None:
    covered(stored_scene, "0.75")
    keep(stored_scene.store, MERGEABLE, stored_scene.judge(MERGEABLE))
    covered(stored_scene, "0.5")
    result = stored_scene.judge("check_coverage")
    assert (result.figure, runs(stored_scene)) == (0.5, 2)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("true", "left no coverage report at coverage.xml"),
        ("echo '<coverage' > coverage.xml", "not XML"),
        ("echo '<report/>' > coverage.xml", "not <coverage>"),
        ("echo '<coverage/>' > coverage.xml", "no line-rate"),
        ("echo '<coverage line-rate=\"nan\"/>' > coverage.xml", "no share"),
        (
            'echo \'<!DOCTYPE x [<!ENTITY a "b">]><coverage line-rate="1">&a;</coverage>\' > coverage.xml',
            "not XML",
        ),
        ("echo '<coverage line-rate=\"1\"/>' > coverage.xml; echo red; exit 1", "red"),
    ],
)
def test_a_share_that_nobody_measured_fails(stored_scene: Scene, script: str, words: str) -> None:
    covered(stored_scene, "1")
    stored_scene.head({"check.sh": script})
    stored_scene.merge()
    result = stored_scene.judge("check_coverage")
    assert (result.outcome, words in result.evidence) == (GateOutcome.FAIL, True), result.evidence


def test_a_re_test_without_a_report_is_told_as_such(stored_scene: Scene) -> None:
    covered(stored_scene, "1")
    stored_scene.head({"check.sh": "true"})
    stored_scene.merge()
    keep(stored_scene.store, MERGEABLE, stored_scene.judge(MERGEABLE))
    result = stored_scene.judge("check_coverage")
    assert (result.outcome, result.evidence) == (GateOutcome.FAIL, "the tests left no coverage report at coverage.xml")


# --- check_test_dilution -----------------------------------------------------------------------------------------

TESTS = "def test_a():\n    assert f() == 1\n\n\ndef test_b():\n    assert g() == 2\n"
Change = Callable[[Scene], object]


def diluted(scene: Scene, change: Change, before: Mapping[str, str] | None = None) -> tuple[GateOutcome, str]:
    scene.base(before or {"tests/test_app.py": TESTS})
    change(scene)
    scene.merge()
    result = scene.judge("check_test_dilution")
    return result.outcome, result.evidence


def rewrite(old: str, new: str) -> Change:
    return lambda scene: scene.head({"tests/test_app.py": TESTS.replace(old, new)})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda scene: scene.head({"app.py": "two = 2\n"}), id="tests are left alone"),
        pytest.param(rewrite("== 2", "== 3"), id="another assertion"),
        pytest.param(rewrite("test_b", "test_better"), id="renamed"),
        pytest.param(
            lambda scene: scene.head({"tests/unit/test_moved.py": TESTS}, removed=["tests/test_app.py"]), id="moved"
        ),
        pytest.param(rewrite("def test_a", "def test_new():\n    assert 1 == f()\n\n\ndef test_a"), id="one more"),
    ],
)
def test_tests_that_are_still_there_are_not_diluted(scene: Scene, change: Change) -> None:
    outcome, evidence = diluted(scene, change)
    assert outcome is GateOutcome.PASS, evidence


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(rewrite(TESTS[TESTS.index("def test_b") :], ""), "test_b: removed", id="one removed"),
        pytest.param(
            lambda scene: scene.head({}, removed=["tests/test_app.py"]), "test_a: removed", id="the file removed"
        ),
        pytest.param(rewrite("assert g() == 2", "pass"), "test_b: emptied", id="emptied"),
        pytest.param(rewrite("assert g() == 2", "assert True"), "test_b: emptied", id="asserts a constant"),
        pytest.param(rewrite("assert g() == 2", "g()"), "test_b: emptied", id="asserts no more"),
        pytest.param(
            rewrite("def test_b", "@pytest.mark.skip\ndef test_b"), "test_b: emptied or skipped", id="skipped"
        ),
        pytest.param(rewrite("def test_b", "def _test_b"), "test_b: removed", id="hidden by its name"),
        pytest.param(rewrite("def test_a():", "def test_a(:"), "does not parse", id="does not parse"),
        pytest.param(
            lambda scene: scene.head({"tests/old_app.py": TESTS}, removed=["tests/test_app.py"]),
            "test_a: removed",
            id="moved to where no runner looks",
        ),
        pytest.param(
            lambda scene: scene.head({"attic/app.py": TESTS}, removed=["tests/test_app.py"]),
            "test_a: removed",
            id="moved out of the test paths",
        ),
    ],
)
def test_a_test_that_was_removed_or_emptied_is_named(scene: Scene, change: Change, named: str) -> None:
    outcome, evidence = diluted(scene, change)
    assert (outcome, named in evidence) == (GateOutcome.FAIL, True), evidence


def test_two_tests_of_one_name_do_not_stand_for_each_other(scene: Scene) -> None:
    before = {"tests/test_app.py": TESTS, "tests/test_more.py": "def test_a():\n    assert h() == 3\n"}
    change = {"tests/test_app.py": TESTS + "x = 1\n", "tests/test_more.py": ""}
    outcome, evidence = diluted(scene, lambda scene: scene.head(change), before)
    assert (outcome, "tests/test_more.py: test_a: removed" in evidence) == (GateOutcome.FAIL, True)


def test_tests_that_others_added_on_the_base_branch_are_not_missed(scene: Scene) -> None:
    def change(scene: Scene) -> None:
        scene.head({"app.py": "two = 2\n"})
        scene.base({"tests/test_new.py": TESTS})

    assert diluted(scene, change)[0] is GateOutcome.PASS


@pytest.mark.parametrize(
    ("change", "outcome", "named"),
    [
        (lambda scene: scene.head({}, removed=["tests/app.test.ts"]), GateOutcome.FAIL, "tests/app.test.ts: removed"),
        (lambda scene: scene.head({"tests/app.test.ts": "it()\n"}), GateOutcome.FAIL, "shrunk from 10 to 1 lines"),
        (
            lambda scene: scene.head({"tests/unit/app.test.ts": "it()\n" * 9}, removed=["tests/app.test.ts"]),
            GateOutcome.PASS,
            "",
        ),
        (lambda scene: scene.head({"tests/app.test.ts": "it()\n" * 8}), GateOutcome.PASS, ""),
        (lambda scene: scene.head({}, removed=["tests/data.json"]), GateOutcome.PASS, ""),
    ],
)
def test_test_files_of_other_languages_are_judged_by_their_lines(
    scene: Scene, change: Change, outcome: GateOutcome, named: str
) -> None:
    found, evidence = diluted(scene, change, {"tests/app.test.ts": "it()\n" * 10, "tests/data.json": "{}"})
    assert (found, named in evidence) == (outcome, True), evidence


# --- check_security ----------------------------------------------------------------------------------------------


def test_a_change_without_secrets_passes(scene: Scene) -> None:
    scene.head({"mine.py": "1\n"})
    scene.merge()
    assert scene.judge(SECURITY).outcome is GateOutcome.PASS


def test_a_committed_secret_fails_with_its_place_and_without_its_value(scene: Scene) -> None:
    scene.head({"mine.py": f"one\nkey = '{KEY}'\n"})
    scene.merge()
    result = scene.judge(SECURITY)
    assert (result.outcome, "mine.py:2: AWS access key" in result.evidence) == (GateOutcome.FAIL, True)
    assert KEY not in result.evidence


def test_a_secret_that_a_later_commit_takes_out_is_still_in_the_history(scene: Scene) -> None:
    leaky = scene.head({"mine.py": f"key = '{KEY}'\n"})
    scene.head({"mine.py": "key = read()\n"})
    scene.merge()
    result = scene.judge(SECURITY)
    assert (result.outcome, f"{leaky[:12]} mine.py:1" in result.evidence) == (GateOutcome.FAIL, True)


def test_a_secret_that_the_base_branch_has_is_not_the_tasks(scene: Scene) -> None:
    scene.base({"old.py": f"key = '{KEY}'\n"})
    scene.head({"mine.py": "1\n"})
    scene.base({"other.py": f"key = '{KEY}'\n"})
    scene.merge()
    assert scene.judge(SECURITY).outcome is GateOutcome.PASS


def test_an_allowed_line_passes_and_is_shown_to_people(scene: Scene) -> None:
    scene.head({"mine.py": f"key = '{KEY}'  # {ALLOW_MARK}: revoked\n"})
    scene.merge()
    result = scene.judge(SECURITY)
    assert (result.outcome, "mine.py:1" in result.evidence) == (GateOutcome.PASS, True)


def test_the_security_command_judges_the_merge_result(scene: Scene) -> None:
    scene.configure(gates=GateConfig(security_command=("sh", "-c", "cat of-base.py mine.py; exit 1")))
    scene.head({"mine.py": "eval(input())\n"})
    scene.base({"of-base.py": "harmless\n"})
    scene.merge()
    result = scene.judge(SECURITY)
    assert (result.outcome, result.evidence.endswith("harmless\neval(input())")) == (GateOutcome.FAIL, True)


def test_a_security_command_that_cannot_run_is_no_fail(scene: Scene) -> None:
    scene.configure(gates=GateConfig(security_command=("no-such-program",)))
    scene.head({"mine.py": "1\n"})
    scene.merge()
    with pytest.raises(TransientError):
        scene.judge(SECURITY)


def test_without_a_merge_the_head_itself_is_judged(scene: Scene) -> None:
    scene.configure(gates=GateConfig(security_command=("grep", "one = 2", "app.py")))
    conflict(scene)
    result = scene.judge(SECURITY)
    assert (result.outcome, result.tree_sha) == (GateOutcome.PASS, None)


def test_a_pass_under_another_history_is_not_the_same_pass(scene: Scene) -> None:
    scene.head({"mine.py": "1\n"})
    scene.merge()
    first = scene.judge(SECURITY)
    scene.head({})
    scene.merge()
    second = scene.judge(SECURITY)
    assert first.tree_sha == second.tree_sha
    assert first.config_digest != second.config_digest


# --- check_image_fresh -------------------------------------------------------------------------------------------


def test_a_repository_without_an_image_passes_and_says_so(scene: Scene) -> None:
    scene.head({"mine.py": "1\n"})
    result = scene.judge("check_image_fresh")
    assert (result.outcome, result.evidence) == (GateOutcome.PASS, "no image is configured")


def test_a_stale_image_passes_and_says_that_it_is_built_anew(stored_scene: Scene) -> None:
    recipe = ImageRecipe(("Dockerfile",), ("build",))
    stored_scene.configure(image=recipe)
    stored_scene.head({"Dockerfile": "FROM scratch\n"})
    merged = cast("MergeCandidate", stored_scene.merge())
    result = stored_scene.judge("check_image_fresh")
    assert (result.outcome, "stale: will be rebuilt" in result.evidence) == (GateOutcome.PASS, True)
    built(stored_scene.store, images.digest_at(stored_scene.work, merged.commit_sha, recipe))
    assert stored_scene.judge("check_image_fresh").evidence.startswith("fresh: tag-1 ")


def built(store: Store | None, recipe_digest: str) -> None:
    assert store is not None
    with store.transaction() as connection:
        statement = "INSERT INTO images (project, tag, recipe_digest) VALUES (:p, 'tag-1', :d)"
        connection.execute(text(statement), {"p": PROJECT, "d": recipe_digest})


@pytest.mark.parametrize(
    ("allowed", "outcome"),
    [
        ("tests/test_app.py::test_b", GateOutcome.PASS),
        ("tests/*.py", GateOutcome.PASS),
        ("tests/test_app.py::test_*", GateOutcome.PASS),
        ("tests/test_app.py::test_a", GateOutcome.FAIL),
        ("tests/test_other.py", GateOutcome.FAIL),
    ],
)
def test_a_test_that_the_base_branch_names_may_go_and_is_still_named(
    scene: Scene, allowed: str, outcome: GateOutcome
) -> None:
    scene.configure(gates=GateConfig(removable_tests=(allowed,)))
    found, evidence = diluted(scene, rewrite(TESTS[TESTS.index("def test_b") :], ""))
    assert (found, "tests/test_app.py: test_b: removed" in evidence) == (outcome, True), evidence


def test_a_file_that_may_go_must_parse_as_long_as_it_stays(scene: Scene) -> None:
    scene.configure(gates=GateConfig(removable_tests=("tests/**",)))
    assert diluted(scene, rewrite("def test_a():", "def test_a(:"))[0] is GateOutcome.FAIL


def test_a_file_of_another_language_may_go_where_the_base_branch_names_it(scene: Scene) -> None:
    scene.configure(gates=GateConfig(removable_tests=("tests/app.test.ts",)))
    change: Change = lambda scene: scene.head({}, removed=["tests/app.test.ts"])  # noqa: E731  # as the table above
    assert diluted(scene, change, {"tests/app.test.ts": "it()\n" * 10})[0] is GateOutcome.PASS
