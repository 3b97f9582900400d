"""What beat runs and how often. A tick that nobody took within its interval is dropped: the next one does the same."""

from __future__ import annotations

from orchestrator import messages
from orchestrator.settings import Timings


def schedule_of(timings: Timings) -> dict[str, dict[str, object]]:
    """The four sweeps; the reason of each default interval stands beside it in ``orchestrator.settings.Timings``."""
    return {
        # Finds dead runs and frees their tasks: nothing else may wait for it.
        "reap": _tick(messages.REAP, timings.reaper_interval_s),
        # Nudges what a lost message forgot, and polls what a lost webhook did not tell.
        "reconcile": _tick(messages.RECONCILE, timings.reconciler_interval_s),
        # Ends deploys whose deployer died, also after the orchestrator deployed itself.
        "finalize-deploys": _tick(messages.FINALIZE_DEPLOYS, timings.finalizer_interval_s),
        # Deliveries whose nudge was lost, and those kept on disk while the database was down.
        "process-inbox": _tick(messages.PROCESS_INBOX, timings.inbox_interval_s),
    }


def _tick(name: str, interval_s: float) -> dict[str, object]:
    return {"task": name, "schedule": interval_s, "options": {"expires": interval_s}}
