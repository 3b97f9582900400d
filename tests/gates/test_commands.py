"""Commands in a checkout: what is the change's own matter, and what only says that a command could not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.configuration import GateConfig
from orchestrator.domain.errors import TransientError
from orchestrator.gates.commands import Ran, run_in_checkout
from tests.gates.scene import Scene


def run(scene: Scene, *argv: str, report: str = "") -> Ran:
    assert scene.view.head_sha is not None
    return run_in_checkout(scene.context(), scene.view.head_sha, "the tests", argv, report=report)


def test_a_command_that_ends_well_passes_with_the_end_of_its_output(scene: Scene) -> None:
    scene.head({"check.sh": "echo 12 passed in $(basename $PWD | wc -l) place\n"})
    ran = run(scene, "sh", "check.sh")
    assert ran.succeeded
    assert "`sh check.sh` passed" in ran.evidence
    assert "12 passed" in ran.evidence


def test_a_command_that_says_no_fails_with_the_end_of_its_output(scene: Scene) -> None:
    scene.head({"check.sh": "seq 20000\necho test_it: 1 is not 2 >&2\nexit 3\n"})
    ran = run(scene, "sh", "check.sh")
    assert not ran.succeeded
    assert "exit code 3" in ran.evidence.splitlines()[0]
    assert ran.evidence.endswith("test_it: 1 is not 2")
    assert len(ran.evidence) < 8_000


def test_paths_in_the_output_are_relative_to_the_checkout(scene: Scene) -> None:
    scene.head({})
    ran = run(scene, "sh", "-c", 'echo "$PWD/app.py:1: wrong"; exit 1')
    assert ran.evidence.endswith("\napp.py:1: wrong")


def test_a_command_that_takes_too_long_is_a_fail(scene: Scene) -> None:
    scene.configure(gates=GateConfig(timeout_s=0))
    scene.head({})
    ran = run(scene, "sleep", "300")
    assert not ran.succeeded
    assert "was ended after 0 s" in ran.evidence


def test_a_program_that_is_not_there_is_no_fail(scene: Scene) -> None:
    scene.head({})
    with pytest.raises(TransientError, match="could not be started") as caught:
        run(scene, "no-such-program-anywhere")
    assert "install it on this node" in caught.value.remedy


def test_a_test_program_that_the_change_removed_is_its_fail(scene: Scene) -> None:
    scene.base({"run.sh": "exit 0\n"})
    scene.head({}, removed=["run.sh"])
    ran = run(scene, "./run.sh")
    assert not ran.succeeded
    assert "the change removed run.sh" in ran.evidence


@pytest.mark.parametrize("how", ["kill -KILL $$", "kill -TERM $$", "exit 137"])
def test_a_command_that_was_killed_from_outside_is_no_fail(scene: Scene, how: str) -> None:
    scene.head({})
    with pytest.raises(TransientError, match="was killed from outside"):
        run(scene, "sh", "-c", how)


def test_a_command_that_crashes_by_itself_is_a_fail(scene: Scene) -> None:
    scene.head({})
    assert not run(scene, "sh", "-c", "kill -SEGV $$").succeeded


def test_the_set_up_runs_first_in_the_same_checkout(scene: Scene) -> None:
    scene.configure(setup=("sh", "-c", "echo ready > made-by-setup"))
    scene.head({})
    assert "ready" in run(scene, "cat", "made-by-setup").evidence


def test_a_set_up_that_only_the_change_breaks_is_its_fail(scene: Scene) -> None:
    scene.base({"setup.sh": "exit 0\n"})
    scene.configure(setup=("sh", "setup.sh"))
    scene.head({"setup.sh": "echo cannot resolve; exit 1\n"})
    ran = run(scene, "true")
    assert not ran.succeeded
    assert "cannot resolve" in ran.evidence


def test_a_set_up_that_fails_on_the_base_branch_too_is_no_fail(scene: Scene) -> None:
    scene.configure(setup=("sh", "-c", "echo registry is down; exit 1"))
    scene.head({})
    with pytest.raises(TransientError, match="on the base branch too"):
        run(scene, "true")


def test_a_report_is_read_from_where_it_was_left(scene: Scene) -> None:
    scene.head({})
    assert run(scene, "sh", "-c", "mkdir out; printf x > out/r.xml", report="out/r.xml").report == b"x"
    assert run(scene, "true", report="out/r.xml").report is None


def test_a_report_that_was_committed_is_none(scene: Scene) -> None:
    scene.head({"r.xml": "all is covered"})
    assert run(scene, "true", report="r.xml").report is None


def test_a_report_is_not_looked_for_through_a_link_that_leads_out(scene: Scene, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "r.xml").write_text("not of this run")
    scene.head({})
    assert run(scene, "ln", "-s", str(outside), "out", report="out/r.xml").report is None
    assert run(scene, "ln", "-s", str(outside / "r.xml"), "r.xml", report="r.xml").report is None
    assert (outside / "r.xml").exists()
