"""The ``command`` runtime: any program that reads a prompt and leaves a verdict file."""

from __future__ import annotations

import signal

from orchestrator.domain.errors import ConfigurationError
from orchestrator.ports import AgentCommand, AgentRequest


class CommandAgent:
    """Runs the configured command as it stands; its prompt comes on stdin."""

    name = "command"

    def command(self, request: AgentRequest) -> AgentCommand:
        """Raises ConfigurationError when no command is configured."""
        if not request.spec.command:
            raise ConfigurationError(
                f"agents.{request.stage}.command: is missing, the runtime «command» needs one",
                remedy="give the program and its arguments as a list",
            )
        return AgentCommand(argv=tuple(request.spec.command), environment={}, gentle_signal=signal.SIGTERM)
