"""Results of a gate: bound to what was judged, with evidence fit for people, agents and the database."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.views import GateOutcome, GateResult
from orchestrator.gates.context import GateContext
from orchestrator.store.texts import storable

EVIDENCE_LIMIT: Final = 7_600
"""Characters of evidence that are kept; the engine's own limit is a little higher."""
_TERMINAL_CODES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def digest(*parts: object) -> str:
    """Hash of a gate's own configuration: a pass counts again only under the same one."""
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()


def plain(text: str, limit: int = EVIDENCE_LIMIT) -> str:
    """``text`` without colours and what Postgres refuses. What is too long loses its middle: the first line says what
    happened, the end is where commands name their failures."""
    clean = storable(_TERMINAL_CODES.sub("", text)).strip()
    if len(clean) <= limit:
        return clean
    head = limit // 8
    return f"{clean[:head]}\n[...]\n{clean[-(limit - head - 7) :]}"


@dataclass(frozen=True, slots=True)
class Bound:
    """Makes the results of one check, each bound to head, base and tree under one configuration."""

    context: GateContext
    config_digest: str = ""
    tree_sha: str | None = None

    def passed(self, evidence: str, figure: float | None = None) -> GateResult:
        return self._result(GateOutcome.PASS, evidence, figure=figure)

    def failed(self, evidence: str, figure: float | None = None) -> GateResult:
        return self._result(GateOutcome.FAIL, evidence, figure=figure)

    def waits(self, evidence: str, retry_after_s: float) -> GateResult:
        """Ask again after so many seconds, or as soon as a fact of the task changes."""
        return self._result(GateOutcome.WAIT, evidence, retry_after_s)

    def _result(
        self, outcome: GateOutcome, evidence: str, retry_after_s: float = 5.0, figure: float | None = None
    ) -> GateResult:
        return GateResult(
            outcome=outcome,
            evidence=plain(evidence),
            head_sha=self.context.view.head_sha,
            base_sha=self.context.base_sha,
            tree_sha=self.tree_sha,
            config_digest=self.config_digest,
            retry_after_s=retry_after_s,
            figure=figure,
        )


def head_of(context: GateContext) -> str:
    """The head that is judged. Raises PermanentError when the task has none: nothing can be said of it."""
    if context.view.head_sha is None:
        raise PermanentError(
            f"{context.view.work_item} has no head to judge: no run of its agent was committed",
            remedy=f"`orch retry {context.view.work_item}` starts its agent again",
        )
    return context.view.head_sha


def short(sha: str | None) -> str:
    """A commit as people read it."""
    return "nothing" if sha is None else sha[:12]


def listed(names: list[str], most: int = 40) -> str:
    """One name a line, the first ``most`` of them."""
    more = [] if len(names) <= most else [f"and {len(names) - most} more"]
    return "\n".join(f"- {name}" for name in [*names[:most], *more])
