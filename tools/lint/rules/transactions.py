"""ORC003: no transaction open across a subprocess, an HTTP call, a message or a sleep.

An open transaction holds row locks, and the snapshot with them: whoever waits for git inside one makes every
other owner wait too, and a nudge sent before the commit shows its receiver the old rows.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final, TypeGuard

from tools.lint.allowed import TRANSACTION_OPENERS
from tools.lint.finding import Finding
from tools.lint.outward import slow_method
from tools.lint.source import FunctionNode, Source, called_name, dotted, walk_now

CODE: Final = "ORC003"
_SLOW_MODULES: Final = ("subprocess.", "httpx.", "requests.", "urllib.request.", "urllib3.")
_SLOW_FUNCTIONS: Final = frozenset(
    {"time.sleep", "os.system", "os.popen", "os.waitpid", "os.posix_spawn", "socket.create_connection"}
)
_SENDS_MESSAGE: Final = frozenset({"apply_async", "delay", "send_task", "nudge"})
_CONNECTION: Final = re.compile(r"\b(Connection|Session|Transaction)\b")


def check(source: Source) -> Iterator[Finding]:
    seen: set[int] = set()
    for node in ast.walk(source.tree):
        for call in _calls_in_transaction(node):
            what = _waits_for(call, source)
            if what and id(call) not in seen:
                seen.add(id(call))
                yield source.finding(
                    call,
                    CODE,
                    f"{what} inside an open transaction: leave the transaction first, then read again and "
                    "guard the next write",
                )


def _calls_in_transaction(node: ast.AST) -> Iterator[ast.Call]:
    body = node.body if _holds_transaction(node) else []
    return (inner for inner in walk_now(body) if isinstance(inner, ast.Call))


def _holds_transaction(node: ast.AST) -> TypeGuard[ast.With | ast.AsyncWith | FunctionNode]:
    if isinstance(node, ast.With | ast.AsyncWith):
        return any(map(_opens_transaction, node.items))
    return isinstance(node, FunctionNode) and _is_given_transaction(node)


def _opens_transaction(item: ast.withitem) -> bool:
    return isinstance(item.context_expr, ast.Call) and any(
        called_name(item.context_expr) == opener or called_name(item.context_expr).endswith(f"_{opener}")
        for opener in TRANSACTION_OPENERS
    )


def _is_given_transaction(function: FunctionNode) -> bool:
    """A function that takes a connection runs inside its caller's transaction: the convention of the store."""
    arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return any(arg.annotation and _CONNECTION.search(ast.unparse(arg.annotation)) for arg in arguments)


def _waits_for(call: ast.Call, source: Source) -> str | None:
    name = source.qualified(call.func)
    if name.startswith("orchestrator.store."):
        return None  # statements: they are what the transaction is for
    if name.startswith(_SLOW_MODULES) or name in _SLOW_FUNCTIONS:
        return f"{name}()"
    if isinstance(call.func, ast.Attribute) and called_name(call) in _SENDS_MESSAGE:
        return f"{dotted(call.func)}() sends a message"
    method = slow_method(call, source)
    return f"{method}()" if method else None
