"""The ``command`` runtime: any program that reads a prompt and leaves a verdict file."""

from __future__ import annotations

import signal

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.run_reports import RunReport
from orchestrator.domain.views import Outcome
from orchestrator.ports import AgentCommand, AgentRequest, RunOutput


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

    def readable(self, line: str) -> str | None:
        """Its output is for people already."""
        return line

    def read(self, output: RunOutput) -> RunReport:
        """Nothing is known of what it prints: only a signal tells that it did not come to its own end."""
        return RunReport(ended=Outcome.INTERRUPTED if output.ended.signal is not None else None)
