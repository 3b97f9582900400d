"""Values of an agent run: what it is told, and how its process ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """What an agent is told. ``title``, ``body`` and ``evidence`` were written by others and reach it as quotation.

    ``documents`` are paths in the worktree of earlier stages' documents; ``evidence`` says why the task came back
    here; ``verdict_errors`` are what was wrong with this stage's last verdict (the repair turn);
    ``instructions`` come from the repository's configuration for this stage.
    """

    run_id: str
    work_item: str
    title: str
    body: str
    documents: tuple[str, ...] = ()
    evidence: str = ""
    instructions: str = ""
    base_branch: str = "main"
    test_command: tuple[str, ...] = ()
    verdict_errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunExit:
    """The shim's exit record. ``reason``: exited | timed-out | silent | over-limit | stopped | bad-start."""

    exit_code: int | None
    signal: int | None
    reason: str
    ended_at: datetime
    strays: int
    detail: str = ""
