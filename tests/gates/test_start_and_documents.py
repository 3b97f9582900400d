"""The gates of the first stages: who may start, and what analysis and architecture must leave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.stages import Stage
from orchestrator.domain.verdicts import Artifact
from orchestrator.domain.views import GateOutcome
from tests.gates.scene import NEEDS_CHANGES, Scene, verdict

FOLDER = "docs/work-items/D-1"


def test_everybody_is_authorised_where_nobody_is_named(scene: Scene) -> None:
    assert scene.judge("check_authorised").outcome is GateOutcome.PASS


@pytest.mark.parametrize(
    ("author", "outcome"),
    [("ada", GateOutcome.PASS), ("eve", GateOutcome.FAIL), ("", GateOutcome.FAIL), (None, GateOutcome.FAIL)],
)
def test_only_trusted_authors_are_authorised(scene: Scene, author: str | None, outcome: GateOutcome) -> None:
    scene.config = replace(scene.config, trusted_authors=("ada", "bob"))
    scene.tracker.author = author
    assert scene.judge("check_authorised").outcome is outcome


STAGES = [("check_analysis_complete", Stage.ANALYSIS), ("check_architecture_done", Stage.ARCHITECTURE)]


@pytest.mark.parametrize(("gate", "stage"), STAGES)
def test_a_stage_is_complete_with_a_pass_and_its_document(scene: Scene, gate: str, stage: Stage) -> None:
    scene.head({f"{FOLDER}/{stage}.md": "# What to do\n"})
    scene.answered(stage, verdict())
    result = scene.judge(gate)
    assert result.outcome is GateOutcome.PASS
    assert f"{FOLDER}/{stage}.md" in result.evidence


@pytest.mark.parametrize(("gate", "stage"), STAGES)
def test_a_document_under_another_name_counts_when_the_verdict_names_it(scene: Scene, gate: str, stage: Stage) -> None:
    scene.head({f"{FOLDER}/notes.md": "text", "elsewhere.md": "text"})
    scene.answered(stage, verdict(artifacts=[Artifact("elsewhere.md", "document", "")]))
    assert scene.judge(gate).outcome is GateOutcome.FAIL
    scene.answered(stage, verdict(artifacts=[Artifact(f"{FOLDER}/notes.md", "document", "")]))
    assert scene.judge(gate).outcome is GateOutcome.PASS


@pytest.mark.parametrize(("gate", "stage"), STAGES)
def test_an_empty_document_is_none(scene: Scene, gate: str, stage: Stage) -> None:
    scene.head({f"{FOLDER}/{stage}.md": " \n\n"})
    scene.answered(stage, verdict())
    result = scene.judge(gate)
    assert result.outcome is GateOutcome.FAIL
    assert f"write it to {FOLDER}/{stage}.md" in result.evidence


def test_the_document_of_the_analysis_does_not_make_an_architecture(scene: Scene) -> None:
    scene.head({f"{FOLDER}/analysis.md": "text"})
    scene.answered(Stage.ARCHITECTURE, verdict())
    assert scene.judge("check_architecture_done").outcome is GateOutcome.FAIL


@pytest.mark.parametrize(("gate", "stage"), STAGES)
def test_a_document_without_a_pass_is_not_complete(scene: Scene, gate: str, stage: Stage) -> None:
    scene.head({f"{FOLDER}/{stage}.md": "text"})
    scene.answered(stage, NEEDS_CHANGES)
    result = scene.judge(gate)
    assert result.outcome is GateOutcome.FAIL
    assert "a race (app.py:7)" in result.evidence


@pytest.mark.parametrize(("gate", "stage"), STAGES)
def test_without_a_verdict_nothing_can_be_judged(scene: Scene, gate: str, stage: Stage) -> None:
    scene.head({f"{FOLDER}/{stage}.md": "text"})
    scene.answered(Stage.REVIEW, verdict())
    with pytest.raises(PermanentError, match=f"no verdict of {stage}"):
        scene.judge(gate)
