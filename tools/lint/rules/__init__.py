"""One module a rule. ``ALL`` is what ``python -m tools.lint`` runs on the program's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tools.lint.finding import Finding
from tools.lint.rules import (
    clock,
    effects,
    environment,
    force_push,
    leases,
    names,
    process_edges,
    sizes,
    sql_text,
    stage_writes,
    transactions,
    vendors,
)
from tools.lint.source import Source

Rule = Callable[[Source], Iterator[Finding]]

LAWS: Final[tuple[Rule, ...]] = (
    stage_writes.check,
    effects.check,
    transactions.check,
    vendors.check,
    environment.check,
    process_edges.check,
    leases.check,
    clock.check,
    force_push.check,
    sql_text.check,
)
"""Laws of the architecture: for the code that is installed."""

HABITS: Final[tuple[Rule, ...]] = (sizes.check, names.check)
"""Habits of writing: for tests and tools as well."""
