"""What people may ask for an item, by name: one table for the API and for the pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orchestrator.domain.errors import NotFoundError
from orchestrator.engine import operator
from orchestrator.engine.context import Engine
from orchestrator.store import read_models, tasks
from orchestrator.store.read_models import ItemPage
from web.parts import parts, reading


def _stop(engine: Engine, work_item: str, by: str, _why: str) -> str:
    return operator.stop(engine, work_item, by)


def _retry(engine: Engine, work_item: str, by: str, _why: str) -> str:
    operator.retry(engine, work_item, by)
    return f"{work_item}: it is tried again"


def _approve(engine: Engine, work_item: str, by: str, _why: str) -> str:
    operator.approve(engine, work_item, by)
    return f"{work_item}: approved"


def _reject(engine: Engine, work_item: str, by: str, why: str) -> str:
    operator.reject(engine, work_item, by, why)
    return f"{work_item}: rejected"


ACTS: Final[dict[str, Callable[[Engine, str, str, str], str]]] = {
    "stop": _stop,
    "retry": _retry,
    "approve": _approve,
    "reject": _reject,
}
"""Each takes (engine, work item, who, why) and gives what is told to who asked."""


def perform(act: str, work_item: str, by: str, why: str = "") -> str:
    """Do it. Raises NotFoundError for an unknown item, UsageError where it cannot be."""
    _must_exist(work_item)
    return ACTS[act](parts().engine, work_item, by, why)


def _must_exist(work_item: str) -> None:
    """Before the engine is needed: an unknown item is that, also while the configuration is broken."""
    with reading() as connection:
        found = tasks.find(connection, work_item)
    if found is None:
        raise unknown(work_item)


def page_of(work_item: str) -> ItemPage:
    """Everything about an item. Raises NotFoundError."""
    with reading() as connection:
        found = read_models.item(connection, work_item)
    if found is None:
        raise unknown(work_item)
    return found


def unknown(work_item: str) -> NotFoundError:
    return NotFoundError(f"there is no work item {work_item}", remedy="the board lists them all")
