"""Codex, headless: ``codex exec --json``, prompt on stdin.

Only ``turn.completed`` and ``turn.failed`` end a turn: an ``error`` event is often a warning or a try to connect again.
There are no codes, so the words of a failed turn (never those of the model) tell what failed.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from orchestrator.adapters.agents import readable
from orchestrator.adapters.agents.events import Event, count_at, listen, stderr_tail, text_at
from orchestrator.adapters.agents.readable import readable_by
from orchestrator.domain.run_reports import RunReport
from orchestrator.domain.runs import Usage
from orchestrator.domain.views import Outcome
from orchestrator.ports import AgentCommand, AgentRequest, RunOutput

_BY_WORDS: Final = (
    (re.compile(r"\b401 Unauthorized\b|\b403 Forbidden\b|^Missing environment variable:"), Outcome.AUTH),
    (re.compile(r"hit your usage limit|^Quota exceeded\b"), Outcome.QUOTA),
    (re.compile(r"\b429 Too Many Requests\b|\brate limit exceeded\b", re.IGNORECASE), Outcome.RATE_LIMITED),
    (re.compile(r"context window|context length|context_length_exceeded", re.IGNORECASE), Outcome.CONTEXT_FULL),
    (re.compile(r"waiting for network|stream disconnected|\b5\d\d [A-Z]|error sending request"), Outcome.OVERLOADED),
)
_RESET: Final = re.compile(r"try again at (\d{1,2}):(\d\d) ?([AP]M)", re.IGNORECASE)


class CodexAgent:
    """``ports.AgentCli`` for the Codex CLI."""

    name = "codex"

    def command(self, request: AgentRequest) -> AgentCommand:
        """Its own sandbox writes in the worktree and the temporary directory only. Keys are hidden from its tools."""
        spec = request.spec
        argv = [*(spec.command or ("codex",)), "exec", "--json", "-s", "workspace-write", "-C", str(request.worktree)]
        argv += ["-c", 'shell_environment_policy.exclude=["*_API_KEY","*_TOKEN"]']
        if spec.model:
            argv += ["-c", f'model="{spec.model}"']
        argv += [*spec.arguments, *(("resume", request.session_id) if request.session_id else ()), "-"]
        return AgentCommand(tuple(argv), {}, signal.SIGTERM)

    def readable(self, line: str) -> str | None:
        """What it says and which tools it uses."""
        return readable_by(line, readable.codex)

    def read(self, output: RunOutput) -> RunReport:
        """What its last turn says; without an end of it, the last trouble that it spoke of."""
        told = _Told()
        unread = listen(output.stdout, told)
        ended, detail = told.ending(stderr_tail(output.stderr))
        return RunReport(
            ended=ended,
            session_id=told.thread_id or None,
            usage=told.usage(),
            usage_of_session=True,
            reset_at=reset_at(detail, output.ended.ended_at) if ended is Outcome.QUOTA else None,
            detail=detail,
            unread=unread,
        )


@dataclass(slots=True)
class _Told:
    thread_id: str = ""
    last: Event | None = None
    trouble: str = ""
    seen: bool = False

    def take(self, event: Event) -> None:
        self.seen = True
        match event.get("type"):
            case "thread.started":
                self.thread_id = text_at(event, "thread_id")
            case "turn.started":
                self.last = None
            case "turn.completed" | "turn.failed":
                self.last = event
            case "error":
                self.trouble = text_at(event, "message")
            case "item.started" | "item.updated" | "item.completed" if text_at(event, "item", "type") != "error":
                self.trouble = ""  # it works again: what it spoke of is over
            case _:
                pass

    def ending(self, stderr: str) -> tuple[Outcome | None, str]:
        """Why it ended, None when by itself; and in which words."""
        if self.last is None:
            if not self.seen:
                return Outcome.BAD_START, stderr
            return _by_words(self.trouble), self.trouble or stderr
        if self.last.get("type") == "turn.completed":
            return None, ""
        words = text_at(self.last, "error", "message")
        return _by_words(words), words

    def usage(self) -> Usage:
        """Running totals of the thread; nothing is told of a turn that failed, and never a cost."""
        return Usage(count_at(self.last, "usage", "input_tokens"), count_at(self.last, "usage", "output_tokens"))


def _by_words(words: str) -> Outcome:
    return next((outcome for pattern, outcome in _BY_WORDS if pattern.search(words)), Outcome.INTERRUPTED)


def reset_at(words: str, now: datetime) -> datetime | None:
    """The moment of "try again at 6:37 PM", which is this machine's local time without a date: the next such one."""
    found = _RESET.search(words)
    if found is None:
        return None
    hour = int(found[1]) % 12 + (12 if found[3].upper() == "PM" else 0)
    local = now.astimezone()
    moment = local.replace(hour=hour, minute=int(found[2]), second=0, microsecond=0)
    return (moment if moment > local else moment + timedelta(days=1)).astimezone(now.tzinfo)
