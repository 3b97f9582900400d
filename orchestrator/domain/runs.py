"""Values of an agent run: what it is told, what it used, and how its process ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """What an agent is told. ``title``, ``body`` and ``evidence`` were written by others and reach it as quotation.

    ``documents`` are paths in the worktree of earlier stages' documents; ``evidence`` says why the task came back
    here; ``verdict_errors`` are what was wrong with this stage's last verdict (the repair turn);
    ``instructions`` come from the repository's configuration for this stage; ``template`` is the repository's own
    text for it, in place of the one that is built in.
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
    template: str = ""


@dataclass(frozen=True, slots=True)
class RunExit:
    """The shim's exit record. ``reason``: exited | timed-out | silent | over-limit | over-budget |
    stopped | bad-start."""

    exit_code: int | None
    signal: int | None
    reason: str
    ended_at: datetime
    strays: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run used. None is unmeasured, which is not zero. ``cost_usd`` is the CLI's own estimate, no bill."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: Decimal | None = None

    def since(self, earlier: Usage) -> Usage:
        """The part after ``earlier``, where both are running totals of one session."""
        return Usage(
            _difference(self.tokens_in, earlier.tokens_in),
            _difference(self.tokens_out, earlier.tokens_out),
            None if self.cost_usd is None else max(Decimal(0), self.cost_usd - (earlier.cost_usd or Decimal(0))),
        )


def _difference(now: int | None, earlier: int | None) -> int | None:
    return None if now is None else max(0, now - (earlier or 0))
