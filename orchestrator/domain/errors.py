"""One root for every error the orchestrator raises, in four kinds.

The core decides by kind, never by message: adapters translate what a vendor said into one of these.
"""

from __future__ import annotations


class OrchestratorError(Exception):
    """Root of all errors of this project.

    ``remedy`` is one sentence that tells a person what to do; it is printed under the message.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class TransientError(OrchestratorError):
    """The outside did not answer, or not usably: it says nothing about what was done. Look, then try again."""

    def __init__(self, message: str, *, remedy: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class PermanentError(OrchestratorError):
    """The outside refused for good: repeating the same request cannot help."""


class LostRaceError(OrchestratorError):
    """Somebody else was first: epoch, stage_seq, head or row is no longer what we decided on.

    Leave; do nothing more.
    """


class NeedsHumanError(OrchestratorError):
    """Only a person can go on: missing rights, a login, a decision. The task parks with this text."""


class ConfigurationError(OrchestratorError):
    """Configuration is unusable. ``problems`` are complete lines, each naming its place and the mend."""

    def __init__(self, problems: list[str] | str, *, remedy: str = "") -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems), remedy=remedy)


class UsageError(OrchestratorError):
    """A person or program asked for something that cannot be: unknown item, wrong state, bad argument."""


class NotFoundError(UsageError):
    """What was named does not exist."""


class NotAllowedError(UsageError):
    """Who asks may not do that: rights or a rule of the operator forbid it. Nothing was done."""
