"""Agent runtimes: how each coding agent is started, with which environment and which prompt, and what it tells."""

from __future__ import annotations

from orchestrator.adapters.agents.claude import ClaudeAgent
from orchestrator.adapters.agents.codex import CodexAgent
from orchestrator.adapters.agents.command import CommandAgent
from orchestrator.adapters.agents.gemini import GeminiAgent
from orchestrator.adapters.agents.opencode import OpenCodeAgent
from orchestrator.ports import AgentCli


def built_in_clis() -> dict[str, AgentCli]:
    """Every runtime that needs no plugin, by the name that a configuration uses."""
    found: tuple[AgentCli, ...] = (ClaudeAgent(), CodexAgent(), CommandAgent(), GeminiAgent(), OpenCodeAgent())
    return {one.name: one for one in found}
