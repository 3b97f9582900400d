"""Prompts: complete, quoted, and ending with the one channel."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.adapters.agents.prompts import PromptFacts, document_path, quoted, render, render_repair
from orchestrator.domain.errors import ConfigurationError, UsageError
from orchestrator.domain.stages import AGENT_STAGES, OPTIONAL_AGENT_STAGES, Stage
from orchestrator.domain.verdicts import Verdict, parse

FACTS = PromptFacts(run_id="run-7", work_item="ORCH-1", title="A title", body="A body")
STAGES = AGENT_STAGES + OPTIONAL_AGENT_STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_says_what_to_do_and_ends_with_the_channel(stage: Stage) -> None:
    text = render(stage, FACTS)
    assert document_path("ORCH-1", stage) in text
    assert "$" not in text
    assert "orch verdict put" in text.splitlines()[-1]


@pytest.mark.parametrize("stage", STAGES)
def test_the_example_is_a_valid_verdict_of_this_run(stage: Stage) -> None:
    text = render(stage, FACTS)
    example = text[text.index('{"schema"') : text.index("null}") + 5]
    assert isinstance(parse(json.dumps(json.loads(example)).encode(), "run-7"), Verdict)


@pytest.mark.parametrize("stage", [Stage.DEPLOY, Stage.DONE, Stage.CANCELLED])
def test_where_no_agent_works_there_is_no_prompt(stage: Stage) -> None:
    with pytest.raises(UsageError):
        render(stage, FACTS)


@pytest.mark.parametrize("break_", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\u2028", "\x85"])
def test_no_line_of_a_quotation_escapes_it(break_: str) -> None:
    text = render(
        Stage.REVIEW,
        PromptFacts("r", f"ORCH-1{break_}evil", f"T{break_}evil", f"B{break_}evil", evidence=f"E{break_}evil"),
    )
    assert not [line for line in text.splitlines() if line.strip().startswith("evil")]


def test_text_that_looks_like_a_placeholder_stays_text() -> None:
    text = render(Stage.REVIEW, PromptFacts("run-7", "ORCH-1", "$run_id", "${run_id} $nothing $$"))
    assert "> $run_id\n" in text
    assert "> ${run_id} $nothing $$\n" in text


def test_earlier_documents_evidence_and_instructions_are_told_only_where_there_are_any() -> None:
    full = render(
        Stage.DEVELOPMENT,
        PromptFacts(
            "r", "ORCH-1", "t", "b", documents=("docs/x.md",), evidence="red", instructions="Use tabs.",
            test_command=("python", "-m", "pytest", "a b"),
        ),
    )  # fmt: skip
    for told in ("- `docs/x.md`", "> red", "Use tabs.", "`python -m pytest 'a b'`"):
        assert told in full
    plain = render(Stage.DEVELOPMENT, FACTS)
    for heading in ("Documents of earlier", "Why the task came back", "What this repository asks", "not usable"):
        assert heading not in plain


def test_the_repair_turn_quotes_every_error() -> None:
    errors = ("$.verdict: is 'ok'", "$.summary: is missing")
    for text in (render_repair(errors), render(Stage.REVIEW, PromptFacts("r", "O-1", "t", "b", verdict_errors=errors))):
        assert "> $.verdict: is 'ok'\n> $.summary: is missing\n" in text
        assert "orch verdict put" in text
    assert "run.json" in render_repair(errors)
    assert "`run-9`" in render_repair(errors, "run-9")


def test_a_quotation_that_is_too_long_keeps_both_ends() -> None:
    text = quoted("a" * 100_000 + "END")
    assert len(text) < 61_000
    assert text.startswith("> aaa")
    assert text.endswith("END")
    assert "cut ...]" in text


def test_a_repository_has_its_own_words_for_a_stage_and_never_for_the_channel() -> None:
    text = render(Stage.REVIEW, replace(FACTS, template="Read $work_item as the elders did.\n"))
    assert "Read ORCH-1 as the elders did." in text
    assert "## What to do" not in text
    assert "> A body" in text
    assert "orch verdict put" in text.splitlines()[-1]


@pytest.mark.parametrize(("template", "wrong"), [("$nonsense", r"\$nonsense is unknown"), ("5 $", "names nothing")])
def test_a_template_that_cannot_be_filled_names_its_place_and_what_is_allowed(template: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"\.orchestrator/prompts/review\.md: .*{wrong}|{wrong}") as caught:
        render(Stage.REVIEW, replace(FACTS, template=template))
    assert "$work_item" in caught.value.remedy
