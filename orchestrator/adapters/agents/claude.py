"""Claude Code, headless: ``claude -p`` with its stream of JSON events, prompt on stdin.

In a result ``subtype: success`` says nothing: not logged in, refused and overloaded all come as "success" with
``is_error``. The last result counts: a run that was woken by a background command prints two.
"""

from __future__ import annotations

import signal
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from orchestrator.adapters.agents import readable
from orchestrator.adapters.agents.events import Event, at, count_at, listen, stderr_tail, text_at
from orchestrator.adapters.agents.readable import readable_by
from orchestrator.domain.run_reports import RunReport
from orchestrator.domain.runs import Usage
from orchestrator.domain.views import Outcome
from orchestrator.ports import AgentCommand, AgentRequest, RunOutput

TOOLS: Final = ("Bash", "Edit", "Glob", "Grep", "NotebookEdit", "Read", "Task", "TodoWrite", "WebFetch", "Write")
"""What an agent may use without being asked; everything else is refused and listed."""

_ENVIRONMENT: Final = {
    # A background command would keep the process for ten minutes after its result.
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
}
_BY_ERROR: Final = {
    "authentication_failed": Outcome.AUTH,
    "oauth_org_not_allowed": Outcome.AUTH,
    "account_on_hold": Outcome.AUTH,
    "verification_required": Outcome.AUTH,
    "cloud_credential_error": Outcome.AUTH,
    "billing_error": Outcome.QUOTA,
    "rate_limit": Outcome.RATE_LIMITED,
    "overloaded": Outcome.OVERLOADED,
    "server_error": Outcome.OVERLOADED,
    "model_not_found": Outcome.BAD_START,
}
_BY_SUBTYPE: Final = {"error_max_turns": Outcome.TURN_LIMIT, "error_max_budget_usd": Outcome.BUDGET}
_BY_STATUS: Final = {
    401: Outcome.AUTH,
    403: Outcome.AUTH,
    413: Outcome.CONTEXT_FULL,
    429: Outcome.RATE_LIMITED,
}
_CONTEXT_FULL: Final = ("prompt_too_long", "blocking_limit")
_SERVER_ERRORS: Final = 500


class ClaudeAgent:
    """``ports.AgentCli`` for Claude Code."""

    name = "claude"

    def command(self, request: AgentRequest) -> AgentCommand:
        """Nothing can ask: what is not allowed is refused. Settings of the repository are not read, they could widen
        what is allowed; neither are servers that they name."""
        spec = request.spec
        argv = [*(spec.command or ("claude",)), "-p", "--output-format", "stream-json", "--verbose"]
        argv += ["--permission-mode", "dontAsk", "--allowedTools", ",".join(TOOLS)]
        argv += ["--setting-sources", "user", "--strict-mcp-config"]
        argv += ["--resume", request.session_id] if request.session_id else ["--session-id", _session(request)]
        if spec.model:
            argv += ["--model", spec.model]
        if spec.max_turns:
            argv += ["--max-turns", str(spec.max_turns)]
        if spec.max_usd is not None:
            argv += ["--max-budget-usd", f"{spec.max_usd:g}"]
        # SIGINT alone makes it write its result, with session and cost.
        return AgentCommand((*argv, *spec.arguments), _ENVIRONMENT, signal.SIGINT)

    def readable(self, line: str) -> str | None:
        """What it says and which tools it uses."""
        return readable_by(line, readable.claude)

    def read(self, output: RunOutput) -> RunReport:
        """What the last result says; without one, how far it came."""
        told = _Told()
        unread = listen(output.stdout, told)
        ended, detail = told.ending(stderr_tail(output.stderr))
        return RunReport(
            ended=ended,
            session_id=told.session_id if told.session_id and ended is not Outcome.BAD_START else None,
            model=told.model,
            version=told.version,
            usage=told.usage(),
            usage_of_session=True,
            reset_at=told.reset_at if ended is Outcome.QUOTA else None,
            detail=detail,
            refused=told.refused(),
            unread=unread,
        )


def _session(request: AgentRequest) -> str:
    """Chosen here, so that it is known whatever happens to the first event."""
    return str(uuid.UUID(hex=request.run_id))


@dataclass(slots=True)
class _Told:
    session_id: str = ""
    model: str = ""
    version: str = ""
    error: str = ""
    reset_at: datetime | None = None
    result: Event | None = None
    answers: dict[str, Any] = field(default_factory=dict)
    seen: int = 0

    def take(self, event: Event) -> None:
        self.seen += 1
        self.session_id = text_at(event, "session_id") or self.session_id
        match event.get("type"):
            case "system" if event.get("subtype") == "init":
                self.model = text_at(event, "model") or self.model
                self.version = text_at(event, "claude_code_version") or self.version
            case "assistant":
                self.error = text_at(event, "error") or self.error
                self.answers[text_at(event, "message", "id")] = at(event, "message")
            case "rate_limit_event":
                self._limit(event)
            case "result":
                self.result = event
            case _:
                pass

    def _limit(self, event: Event) -> None:
        """Healthy runs are told of their limits too: only a rejection is one."""
        resets = at(event, "rate_limit_info", "resetsAt")
        if text_at(event, "rate_limit_info", "status") == "rejected" and isinstance(resets, int | float):
            self.reset_at = datetime.fromtimestamp(resets, UTC)

    def ending(self, stderr: str) -> tuple[Outcome | None, str]:
        """Why it ended, None when by itself; and in which words."""
        result = self.result
        if result is None:
            return (Outcome.INTERRUPTED, stderr) if self.seen else (Outcome.BAD_START, stderr)
        if not result.get("is_error"):
            return None, ""
        return self._error(result), _words(result) or stderr

    def _error(self, result: Event) -> Outcome:
        subtype, terminal = text_at(result, "subtype"), text_at(result, "terminal_reason")
        if subtype in _BY_SUBTYPE:
            return _BY_SUBTYPE[subtype]
        if subtype == "error_during_execution":
            return Outcome.INTERRUPTED if terminal or result.get("num_turns") else Outcome.BAD_START
        if terminal in _CONTEXT_FULL:
            return Outcome.CONTEXT_FULL
        if self.reset_at is not None:
            return Outcome.QUOTA
        return self._api_error(count_at(result, "api_error_status"))

    def _api_error(self, status: int | None) -> Outcome:
        if self.error in _BY_ERROR:
            return _BY_ERROR[self.error]
        if status is not None and status >= _SERVER_ERRORS:
            return Outcome.OVERLOADED
        return _BY_STATUS.get(status or 0, Outcome.INTERRUPTED)

    def usage(self) -> Usage:
        """Totals of the session over all models; the main loop's own ``usage`` leaves helpers out."""
        if self.result is None:
            return self._so_far()
        models = at(self.result, "modelUsage")
        used: list[Any] = list(models.values()) if isinstance(models, dict) else []
        cost = at(self.result, "total_cost_usd")
        return Usage(
            tokens_in=sum(count_at(one, name) or 0 for one in used for name in _TOKENS_IN) if used else None,
            tokens_out=sum(count_at(one, "outputTokens") or 0 for one in used) if used else None,
            cost_usd=Decimal(str(cost)) if isinstance(cost, int | float) else None,
        )

    def _so_far(self) -> Usage:
        """Of a run without a result yet: what its answers used, each counted once though it comes in pieces."""
        used = [at(one, "usage") for one in self.answers.values()]
        return Usage(
            tokens_in=sum(count_at(one, name) or 0 for one in used for name in _STREAMED_IN) if used else None,
            tokens_out=sum(count_at(one, "output_tokens") or 0 for one in used) if used else None,
        )

    def refused(self) -> tuple[str, ...]:
        denials = at(self.result, "permission_denials")
        return tuple(text_at(one, "tool_name") for one in denials) if isinstance(denials, list) else ()


_STREAMED_IN: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_TOKENS_IN: Final = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")


def _words(result: Event) -> str:
    errors = at(result, "errors")
    listed = "; ".join(map(str, errors)) if isinstance(errors, list) else ""
    return listed or text_at(result, "result") or text_at(result, "terminal_reason")
