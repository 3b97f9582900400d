"""What agents are told: one Markdown file a stage in ``prompts/``, filled with values.

A repository may have its own file for a stage, in its base branch. What others wrote (work item, evidence) is quoted
line by line, so that nothing in it can end the quotation, and it is put in last: text that looks like one of our
placeholders stays text.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import Final

from orchestrator.domain.errors import ConfigurationError, UsageError
from orchestrator.domain.stages import AGENT_STAGES, OPTIONAL_AGENT_STAGES, Stage
from orchestrator.ports import PromptFacts

__all__ = ["PromptFacts", "document_path", "own_template", "quoted", "render", "render_repair"]

_LONGEST_QUOTE: Final = 60_000
"""Characters of one quotation; what is longer is cut in its middle, since logs end with what matters."""


def document_path(work_item: str, stage: Stage) -> str:
    """Where the document of a stage lives in the repository."""
    return f"docs/work-items/{work_item}/{stage}.md"


def render(stage: Stage, facts: PromptFacts) -> str:
    """The whole prompt of one run. Raises UsageError for a stage in which no agent works, ConfigurationError for a
    template of the repository that cannot be filled."""
    if stage not in AGENT_STAGES + OPTIONAL_AGENT_STAGES:
        raise UsageError(f"no agent works in {stage}")
    values = _values(stage, facts)
    parts = [_template("_work_item"), _of_stage(stage, facts, values), _template("_verdict")]
    if facts.verdict_errors:
        parts.insert(2, _template("repair"))
    return "\n\n".join(part.substitute(values).strip("\n") for part in parts) + "\n"


def own_template(stage: Stage) -> str:
    """Where a repository may keep its own text for a stage; read from the base branch only."""
    return f".orchestrator/prompts/{stage}.md"


def _of_stage(stage: Stage, facts: PromptFacts, values: Mapping[str, str]) -> Template:
    """What to do, in the repository's own words where it has some. The work item before it and the verdict channel
    behind it are never its to change."""
    if not facts.template:
        return _template(str(stage))
    own = Template(facts.template)
    unknown = [name for name in own.get_identifiers() if name not in values]
    if unknown or not own.is_valid():
        wrong = ", ".join(f"${name}" for name in unknown) or "a $ that names nothing"
        raise ConfigurationError(
            f"{own_template(stage)}: {wrong} is unknown",
            remedy=f"allowed are {', '.join(f'${name}' for name in sorted(values))}; a dollar sign itself is $$",
        )
    return own


def render_repair(errors: Sequence[str], run_id: str = "") -> str:
    """For an agent that still knows its work. Without ``run_id`` it is told where to find it."""
    return _template("repair").substitute(_repair_values(errors, run_id))


def quoted(text: str) -> str:
    """``text`` as a Markdown quotation: every line of it begins with ``>``, however its lines are divided."""
    if len(text) > _LONGEST_QUOTE:
        half = _LONGEST_QUOTE // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters cut ...]\n{text[-half:]}"
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines()) or ">"


def _values(stage: Stage, facts: PromptFacts) -> dict[str, str]:
    return {
        "stage": str(stage),
        "stage_title": str(stage).capitalize(),
        "run_id": facts.run_id,
        "work_item": _one_line(facts.work_item),
        "title": _one_line(facts.title),
        "body": quoted(facts.body),
        "document": document_path(_one_line(facts.work_item), stage),
        "artifact": document_path(_one_line(facts.work_item), stage),
        "documents": _documents(facts.documents),
        "evidence": _section("Why the task came back to this stage", quoted(facts.evidence), facts.evidence),
        "instructions": _section("What this repository asks of you", facts.instructions.strip(), facts.instructions),
        "base_branch": _one_line(facts.base_branch),
        "test_command": _one_line(shlex.join(facts.test_command)) or "as this repository does it",
        **_repair_values(facts.verdict_errors, facts.run_id),
    }


def _repair_values(errors: Sequence[str], run_id: str) -> dict[str, str]:
    where = f"Its `run_id` is `{run_id}`." if run_id else "Its `run_id` stands in `.orchestrator/run.json`."
    return {"errors": quoted("\n".join(errors)), "run_id_line": where}


def _documents(paths: Sequence[str]) -> str:
    listed = "\n".join(f"- `{_one_line(path)}`" for path in paths)
    return _section("Documents of earlier stages, in this worktree", listed, listed)


def _section(title: str, text: str, condition: str) -> str:
    return f"\n## {title}\n\n{text}\n" if condition.strip() else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


@cache
def _template(name: str) -> Template:
    return Template((files(__package__) / "prompts" / f"{name}.md").read_text(encoding="utf-8"))
