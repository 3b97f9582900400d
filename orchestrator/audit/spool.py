"""I17 on disk: a delivery that was accepted while the database was down must not lie there any more."""

from __future__ import annotations

import time

from orchestrator.audit.breaches import Breach, Seen
from orchestrator.engine import spool
from orchestrator.engine.context import Engine


def look(engine: Engine, limit_s: float) -> Seen:
    """Files of this node's spool older than ``limit_s``."""
    where = spool.directory(engine.runs_dir.parent)
    oldest = time.time_ns() - int(limit_s * 1e9)
    return Seen(
        tuple(
            Breach("I17", "-", f"the accepted delivery {file.name} is in the spool and not in the inbox")
            for file in sorted(where.glob("*"))
            if file.name.partition("-")[0].isdigit() and int(file.name.partition("-")[0]) < oldest
        )
    )
