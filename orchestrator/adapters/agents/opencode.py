"""OpenCode, headless: ``opencode run --format json``, prompt on stdin.

It has neither a first nor a last event: the reason of the last finished step tells whether it came to its end. It
waits for a quota in silence, for days if it is let: the clock on silence ends that.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from orchestrator.adapters.agents import readable
from orchestrator.adapters.agents.events import Event, at, count_at, listen, stderr_tail, text_at
from orchestrator.adapters.agents.readable import readable_by
from orchestrator.domain.run_reports import RunReport
from orchestrator.domain.runs import Usage
from orchestrator.domain.views import Outcome
from orchestrator.ports import AgentCommand, AgentRequest, RunOutput

_ENVIRONMENT: Final = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}
_BY_STATUS: Final = {401: Outcome.AUTH, 403: Outcome.AUTH, 413: Outcome.CONTEXT_FULL, 429: Outcome.RATE_LIMITED}
_SERVER_ERRORS: Final = 500
_NO_MODEL: Final = " (it says no more of a model that it does not know, or whose provider has no login)"


class OpenCodeAgent:
    """``ports.AgentCli`` for OpenCode."""

    name = "opencode"

    def command(self, request: AgentRequest) -> AgentCommand:
        """``--auto`` answers what would be asked; what the configuration denies stays denied."""
        spec = request.spec
        argv = [*(spec.command or ("opencode",)), "run", "--format", "json", "--dir", str(request.worktree), "--auto"]
        if spec.model:
            argv += ["-m", spec.model]
        if request.session_id:
            argv += ["-s", request.session_id]
        return AgentCommand((*argv, *spec.arguments), _ENVIRONMENT, signal.SIGTERM)

    def readable(self, line: str) -> str | None:
        """What it says and which tools it uses."""
        return readable_by(line, readable.opencode)

    def read(self, output: RunOutput) -> RunReport:
        """What its steps and its error say; tokens and cost are the sums of the steps."""
        told = _Told()
        unread = listen(output.stdout, told)
        ended, detail = told.ending(output.ended.exit_code, stderr_tail(output.stderr))
        return RunReport(
            ended=ended,
            session_id=told.session_id or None,
            usage=told.usage(),
            detail=detail,
            refused=tuple(told.refused),
            unread=unread,
        )


@dataclass(slots=True)
class _Told:
    session_id: str = ""
    reason: str = ""
    error: Event | None = None
    steps: list[Event] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        self.session_id = text_at(event, "sessionID") or self.session_id
        match event.get("type"):
            case "step_finish":
                self.steps.append(at(event, "part") or {})
                self.reason = text_at(event, "part", "reason")
            case "step_start":
                self.reason = ""
            case "tool_use" if "rejected permission" in text_at(event, "part", "state", "error"):
                self.refused.append(text_at(event, "part", "tool"))
            case "error":
                self.error = event
            case _:
                pass

    def ending(self, code: int | None, stderr: str) -> tuple[Outcome | None, str]:
        """Why it ended, None when by itself; and in which words."""
        if self.error is not None:
            words = text_at(self.error, "error", "data", "message") or text_at(self.error, "error", "name")
            hint = _NO_MODEL if text_at(self.error, "error", "name") == "UnknownError" and not self.steps else ""
            return self._error(), words + hint
        if self.reason == "stop" or (self.refused and code == 0):
            return None, ""
        return (Outcome.INTERRUPTED if self.session_id else Outcome.BAD_START), stderr

    def _error(self) -> Outcome:
        data = at(self.error, "error", "data")
        status = count_at(data, "statusCode")
        if status is None:
            connects = "Cannot connect to API" in text_at(data, "message")
            return Outcome.OVERLOADED if connects else Outcome.INTERRUPTED if self.steps else Outcome.BAD_START
        if "insufficient_quota" in text_at(data, "responseBody"):
            return Outcome.QUOTA
        if status >= _SERVER_ERRORS:
            return Outcome.OVERLOADED
        return _BY_STATUS.get(status, Outcome.INTERRUPTED)

    def usage(self) -> Usage:
        costs = [Decimal(str(one["cost"])) for one in self.steps if isinstance(one.get("cost"), int | float)]
        return Usage(
            tokens_in=_sum(self.steps, "input"),
            tokens_out=_sum(self.steps, "output"),
            cost_usd=sum(costs, Decimal(0)) if costs else None,
        )


def _sum(steps: list[Event], name: str) -> int | None:
    counted = [found for one in steps if (found := count_at(one, "tokens", name)) is not None]
    return sum(counted) if counted else None
