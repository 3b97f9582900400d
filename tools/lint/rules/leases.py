"""ORC007: only ``store/leases.py`` makes a ``HeldLease`` or a ``HeldMergeLane``.

They are proofs of ownership: whoever builds one without the acquisition forges the proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tools.lint.allowed import LEASE_MAKER
from tools.lint.finding import Finding
from tools.lint.source import Source, called_name, calls

CODE: Final = "ORC007"
_PROOFS: Final = frozenset({"HeldLease", "HeldMergeLane"})


def check(source: Source) -> Iterator[Finding]:
    if source.within([LEASE_MAKER]):
        return
    for call in calls(source.tree):
        if called_name(call) in _PROOFS:
            yield source.finding(
                call,
                CODE,
                f"{called_name(call)} is made outside {LEASE_MAKER}: take the one that acquire() gave",
            )
