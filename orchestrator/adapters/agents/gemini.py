"""Gemini CLI, headless: ``gemini -o stream-json``, prompt on stdin.

Its exit code for an error of the API is the HTTP status modulo 256, so 173 is 429 and no signal. Ended by SIGTERM it
leaves with 0 and without a result: then it was interrupted.
"""

from __future__ import annotations

import signal
import uuid
from dataclasses import dataclass
from typing import Final

from orchestrator.adapters.agents import readable
from orchestrator.adapters.agents.events import Event, count_at, listen, stderr_tail, text_at
from orchestrator.adapters.agents.readable import readable_by
from orchestrator.domain.run_reports import RunReport
from orchestrator.domain.runs import Usage
from orchestrator.domain.views import Outcome
from orchestrator.ports import AgentCommand, AgentRequest, RunOutput

_LAST_WORDS: Final = "Do what the text above asks of you."
"""The CLI wants a prompt as an argument too and puts it after what came on stdin."""

_BY_EXIT: Final = {
    41: Outcome.AUTH,
    42: Outcome.BAD_START,
    53: Outcome.TURN_LIMIT,
    55: Outcome.BAD_START,
    401 % 256: Outcome.AUTH,
    403 % 256: Outcome.AUTH,
    429 % 256: Outcome.RATE_LIMITED,
    500 % 256: Outcome.OVERLOADED,
    502 % 256: Outcome.OVERLOADED,
    503 % 256: Outcome.OVERLOADED,
    504 % 256: Outcome.OVERLOADED,
    529 % 256: Outcome.OVERLOADED,
}
_BY_WORDS: Final = (
    ("exhausted your daily quota", Outcome.QUOTA),
    ("API key not valid", Outcome.AUTH),
    ("exceeds the maximum number of tokens", Outcome.CONTEXT_FULL),
)


class GeminiAgent:
    """``ports.AgentCli`` for the Gemini CLI."""

    name = "gemini"

    def command(self, request: AgentRequest) -> AgentCommand:
        """One process (its second one would swallow signals), no question about the folder, every tool allowed."""
        spec = request.spec
        argv = [*(spec.command or ("gemini",)), "-o", "stream-json", "--approval-mode", "yolo", "--skip-trust"]
        session = request.session_id
        argv += ["--resume", session] if session else ["--session-id", str(uuid.UUID(hex=request.run_id))]
        if spec.model:
            argv += ["-m", spec.model]
        argv += [*spec.arguments, "-p", _LAST_WORDS]
        return AgentCommand(tuple(argv), {"GEMINI_CLI_NO_RELAUNCH": "true"}, signal.SIGTERM)

    def readable(self, line: str) -> str | None:
        """What it says and which tools it uses."""
        return readable_by(line, readable.gemini)

    def read(self, output: RunOutput) -> RunReport:
        """What its result and its exit code say together."""
        told = _Told()
        unread = listen(output.stdout, told)
        ended, detail = told.ending(output.ended.exit_code, stderr_tail(output.stderr))
        return RunReport(
            ended=ended,
            session_id=told.session_id or None,
            model=told.model,
            usage=told.usage(),
            detail=detail,
            unread=unread,
        )


@dataclass(slots=True)
class _Told:
    session_id: str = ""
    model: str = ""
    result: Event | None = None

    def take(self, event: Event) -> None:
        match event.get("type"):
            case "init":
                self.session_id, self.model = text_at(event, "session_id"), text_at(event, "model")
            case "result":
                self.result = event
            case _:
                pass

    def ending(self, code: int | None, stderr: str) -> tuple[Outcome | None, str]:
        """Why it ended, None when by itself; and in which words."""
        if self.result is None:
            started = bool(self.session_id)
            return _BY_EXIT.get(code or 0, Outcome.INTERRUPTED if started else Outcome.BAD_START), stderr
        if text_at(self.result, "status") == "success":
            return None, ""
        words = text_at(self.result, "error", "message")
        if text_at(self.result, "error", "type") == "FatalTurnLimitedError":
            return Outcome.TURN_LIMIT, words
        by_words = next((outcome for part, outcome in _BY_WORDS if part in words), None)
        return by_words or _BY_EXIT.get(code or 0, Outcome.INTERRUPTED), words

    def usage(self) -> Usage:
        """Tokens of this process; it tells no cost. An error before the first answer measured nothing."""
        tokens = (count_at(self.result, "stats", "input_tokens"), count_at(self.result, "stats", "output_tokens"))
        return Usage(*tokens)
