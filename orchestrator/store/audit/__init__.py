"""What rows show of the invariants: one statement a check, read in one snapshot. SELECT only."""

from __future__ import annotations

from typing import Final

from orchestrator.store.audit import history, ledger, movement, ownership
from orchestrator.store.audit.scope import Check, Found, Scope, prepare, run

CHECKS: Final[tuple[Check, ...]] = (*history.CHECKS, *ledger.CHECKS, *ownership.CHECKS, *movement.CHECKS)

__all__ = ["CHECKS", "Check", "Found", "Scope", "prepare", "run"]
