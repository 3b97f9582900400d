"""What an agent CLI told about its own run, and which outcome follows from all that is known of it.

Three things decide together: the last event of the stream, the way the process ended, and the verdict file. Each
alone lies: exit code 0 without a last event is an interrupted run, a result called "success" may be an error, and a
verdict that was filed counts even when the run was ended afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from orchestrator.domain.runs import RunExit, Usage
from orchestrator.domain.views import Outcome


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run in the words of its CLI.

    ``ended``: why it did not come to its own end; None when it did (which says nothing about its work).
    ``usage_of_session``: the figures are running totals of the session, so a resumed run used only the difference.
    ``reset_at``: when a provider's quota comes back, if it said so. ``refused``: tools that were asked for and
    refused, which fails no run. ``unread``: lines of the stream that were no event.
    """

    ended: Outcome | None
    session_id: str | None = None
    model: str = ""
    version: str = ""
    usage: Usage = field(default_factory=Usage)
    usage_of_session: bool = False
    reset_at: datetime | None = None
    detail: str = ""
    refused: tuple[str, ...] = ()
    unread: int = 0


_WAITED_FOR: Final = (Outcome.QUOTA, Outcome.RATE_LIMITED, Outcome.OVERLOADED)
"""CLIs wait for these for ever, some without a word, some (Codex) saying so again and again, which is no silence; a
clock of the shim ends the wait, the last words of the stream have the reason."""

_SIGKILL: Final = 9


def outcome_of(ended: RunExit, report: RunReport, *, has_verdict: bool) -> Outcome:
    """The outcome of a run that ended. ``has_verdict``: a valid verdict of this very run was found."""
    if has_verdict:
        return Outcome.VERDICT
    match ended.reason:
        case "stopped":
            return Outcome.STOPPED
        case "bad-start":
            return Outcome.BAD_START
        case "over-limit":
            return Outcome.KILLED
        case "over-budget":
            return Outcome.BUDGET
        case "timed-out":
            return report.ended if report.ended in _WAITED_FOR else Outcome.TIMED_OUT
        case "silent":
            return report.ended if report.ended in _WAITED_FOR else Outcome.SILENT
        case _:
            return _by_itself(ended, report)


def _by_itself(ended: RunExit, report: RunReport) -> Outcome:
    if report.ended in (None, Outcome.INTERRUPTED) and ended.signal == _SIGKILL:
        return Outcome.KILLED
    return report.ended or Outcome.NO_VERDICT


def wants_repair(outcome: Outcome, ended: RunExit) -> bool:
    """Whether one more turn may give the verdict that is missing: the run came to its own end and only forgot it."""
    return outcome is Outcome.NO_VERDICT and ended.reason == "exited"
