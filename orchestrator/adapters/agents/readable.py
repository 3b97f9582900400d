"""Streams of agent CLIs as lines for people: what it says, which tools it uses, what went wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from orchestrator.adapters.agents.events import Event, at, text_at

_LONGEST: Final = 300
"""Characters of a tool's input that are shown; the raw stream has all of it."""


def readable_by(line: str, words: Callable[[Event], Iterable[str]]) -> str | None:
    """``line`` in the words that ``words`` finds in its event; what is no event is shown as it stands."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(event, dict):
        return line
    return "\n".join(filter(None, words(event))) or None


def tool(name: str, given: object) -> str:
    """A tool with what it was given: the command of a shell, else all of it in short."""
    told = text_at(given, "command") or text_at(given, "file_path") or json.dumps(given, ensure_ascii=False)
    return f"[{name}] {told if len(told) <= _LONGEST else told[:_LONGEST] + ' ...'}"


def claude(event: Event) -> Iterable[str]:
    match event.get("type"):
        case "system" if event.get("subtype") == "init":
            yield f"session {text_at(event, 'session_id')}, {text_at(event, 'model')}"
        case "system" if event.get("subtype") == "api_retry":
            yield f"! the provider is tried again: {text_at(event, 'error')}"
        case "assistant":
            yield from map(_claude_part, at(event, "message", "content") or ())
        case "result":
            yield f"= {text_at(event, 'terminal_reason') or text_at(event, 'subtype')}: {text_at(event, 'result')}"
        case _:
            return


def _claude_part(part: Any) -> str:
    if text_at(part, "type") == "tool_use":
        return tool(text_at(part, "name"), at(part, "input"))
    return text_at(part, "text")


def codex(event: Event) -> Iterable[str]:
    item = at(event, "item")
    match event.get("type"), text_at(item, "type"):
        case "thread.started", _:
            yield f"session {text_at(event, 'thread_id')}"
        case "item.started", "command_execution":
            yield tool("shell", item)
        case "item.completed", "command_execution" if at(item, "exit_code"):
            yield f"! exit code {at(item, 'exit_code')}"
        case "item.completed", "agent_message":
            yield text_at(item, "text")
        case "item.completed", "error":
            yield f"! {text_at(item, 'message')}"
        case "error", _:
            yield f"! {text_at(event, 'message')}"
        case "turn.failed", _:
            yield f"= failed: {text_at(event, 'error', 'message')}"
        case "turn.completed", _:
            yield "= completed"
        case _:
            return


def gemini(event: Event) -> Iterable[str]:
    match event.get("type"):
        case "init":
            yield f"session {text_at(event, 'session_id')}, {text_at(event, 'model')}"
        case "message" if event.get("role") == "assistant":
            yield text_at(event, "content")
        case "tool_use":
            yield tool(text_at(event, "tool_name"), at(event, "parameters"))
        case "tool_result" if event.get("status") != "success":
            yield f"! {text_at(event, 'output')}"
        case "error":
            yield f"! {text_at(event, 'message')}"
        case "result":
            yield f"= {text_at(event, 'status')} {text_at(event, 'error', 'message')}".rstrip()
        case _:
            return


def opencode(event: Event) -> Iterable[str]:
    part = at(event, "part")
    match event.get("type"):
        case "text":
            yield text_at(part, "text")
        case "tool_use":
            yield tool(text_at(part, "tool"), at(part, "state", "input"))
            if text_at(part, "state", "status") == "error":
                yield f"! {text_at(part, 'state', 'error')}"
        case "error":
            yield f"! {text_at(event, 'error', 'data', 'message') or text_at(event, 'error', 'name')}"
        case "step_finish" if text_at(part, "reason") == "stop":
            yield "= completed"
        case _:
            return
