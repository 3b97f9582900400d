"""The messages between processes, as names: which Celery task, by which queue, and how publishing fails fast.

Every message is a nudge: ids only, nobody waits for an answer, the broker may lose it.
"""

from __future__ import annotations

from typing import Final

DRIVE: Final = "orchestrator.drive"
LAUNCH_AGENT: Final = "orchestrator.launch_agent"
STOP_AGENT: Final = "orchestrator.stop_agent"
FINISH_JOB: Final = "orchestrator.finish_job"
PROCESS_DELIVERY: Final = "orchestrator.process_delivery"
PROCESS_INBOX: Final = "orchestrator.process_inbox"
REAP: Final = "orchestrator.reap"
RECONCILE: Final = "orchestrator.reconcile"
FINALIZE_DEPLOYS: Final = "orchestrator.finalize_deploys"

INTAKE: Final = "intake"
EDGES: Final = "edges"
SWEEPS: Final = "sweeps"

ROUTES: Final = {
    DRIVE: {"queue": EDGES},
    PROCESS_DELIVERY: {"queue": INTAKE},
    PROCESS_INBOX: {"queue": SWEEPS},
    REAP: {"queue": SWEEPS},
    RECONCILE: {"queue": SWEEPS},
    FINALIZE_DEPLOYS: {"queue": SWEEPS},
}
"""Queue of each message that any node may take; the other three go to ``agents_queue`` of one node."""

# A dead or frozen broker costs its caller two seconds at most; the rows are committed, so nothing is lost by it.
TRANSPORT_OPTIONS: Final = {
    "socket_timeout": 2,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "visibility_timeout": 3600,
}
PUBLISH_ONCE: Final = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
"""Not ``retry=False``, which waits for six seconds where this fails at once (measured)."""


def transport_options(broker_url: str) -> dict[str, object]:
    """Options of the connection to ``broker_url``; a unix socket knows no keepalive."""
    options: dict[str, object] = dict(TRANSPORT_OPTIONS)
    if broker_url.startswith("redis+socket"):
        del options["socket_keepalive"]
    return options


def agents_queue(node: str) -> str:
    """The queue of what only ``node`` can do: start, stop and finish processes there."""
    return f"agents.{node}"
