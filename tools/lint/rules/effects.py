"""ORC002: effects only through the ledger.

A write to the outside world that no claim precedes cannot be recognised by a successor: after a crash it is
done twice. So outward port methods are called by ``effects/`` only, and ``act`` and ``revoke`` by the engine's
one performer, which claims first.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tools.lint.allowed import ACT_CALLERS, OUTWARD_CALLERS, OUTWARD_EXCEPTIONS
from tools.lint.finding import Finding
from tools.lint.outward import outward_method
from tools.lint.source import Source, called_name, calls

CODE: Final = "ORC002"


def check(source: Source) -> Iterator[Finding]:
    for call in calls(source.tree):
        method = outward_method(call, source)
        if method and not _may_call(source, called_name(call)):
            yield source.finding(
                call,
                CODE,
                f"{method} changes the outside world without a claim in the ledger: make it an effect "
                "(orchestrator/effects/), or list the reason in tools/lint/allowed.py",
            )
        elif _performs(call, source) and not source.within(ACT_CALLERS):
            yield source.finding(
                call,
                CODE,
                f"{called_name(call)}() of an effect is called outside {ACT_CALLERS[0]}, which claims first",
            )


def _may_call(source: Source, method: str) -> bool:
    return source.within(OUTWARD_CALLERS) or any(
        name == method and source.within([place]) for place, name in OUTWARD_EXCEPTIONS
    )


def _performs(call: ast.Call, source: Source) -> bool:
    name = source.qualified(call.func)
    if name.startswith("orchestrator.effects."):
        return name.rpartition(".")[2] in ("act", "revoke")
    return isinstance(call.func, ast.Attribute) and call.func.attr == "act"
