"""All mutants: every protection of the model is taken out by at least one of them."""

from __future__ import annotations

from typing import Final

from tools.mutants import inside, outside, repairing

PROTECTIONS: Final = (
    "lease",
    "identity",
    "lease on the way back",
    "STOP's wait",
    "look and read back",
    "current read",
    "expected head",
    "once-only merge",
    "deploy key",
    "revocation before going back",
    "revocation for good",
    "revocation before cancel",
    "epoch in the claim",
    "epoch in the commit",
    "stage_seq",
    "kill before release",
    "Tier 3",
    "claim before act in the reaper",
)
"""What the model takes out, one after the other."""

MUTANTS: Final = (*inside.MUTANTS, *outside.MUTANTS, *repairing.MUTANTS)
