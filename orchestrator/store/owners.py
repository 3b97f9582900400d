"""Owners as columns: written and read in one place, so that an identity is always whole."""

from __future__ import annotations

from sqlalchemy import Row

from orchestrator.domain.ownership import Owner
from orchestrator.store.schema import OWNER_FIELDS


def owner_values(owner: Owner | None, prefix: str = "owner") -> dict[str, str | int | None]:
    """Column values of ``owner``; all None when there is no owner."""
    return {f"{prefix}_{field}": None if owner is None else getattr(owner, field) for field in OWNER_FIELDS}


def read_owner(row: Row[tuple[object, ...]], prefix: str = "owner") -> Owner | None:
    """The owner that ``row`` names, or None."""
    values = row._mapping
    if values[f"{prefix}_pid"] is None:
        return None
    return Owner(
        node=str(values[f"{prefix}_node"]),
        boot_id=str(values[f"{prefix}_boot_id"]),
        pid_ns=_number(values[f"{prefix}_pid_ns"]),
        pid=_number(values[f"{prefix}_pid"]),
        start_ticks=_number(values[f"{prefix}_start_ticks"]),
    )


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value
