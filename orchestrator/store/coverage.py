"""The coverage that a base branch must not fall below. It only rises, and only by who holds the task's lease."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection, text

from orchestrator.domain.ownership import Committed, HeldLease, LostRace
from orchestrator.store import leases

_INSERT: Final = """INSERT INTO coverage_baselines (project, base_branch, line_rate, sha) VALUES (:p, :b, :new, :sha)
  ON CONFLICT (project, base_branch) DO NOTHING"""
_UPDATE: Final = """UPDATE coverage_baselines SET line_rate = :new, sha = :sha, raised_at = clock_timestamp()
  WHERE project = :p AND base_branch = :b AND line_rate = :old AND line_rate < :new"""


@dataclass(frozen=True, slots=True)
class Reached:
    """``line_rate`` is a share of lines, 0 to 1, with six digits; ``sha`` is the commit that reached it."""

    line_rate: Decimal
    sha: str


@dataclass(frozen=True, slots=True)
class Rise:
    """What the baseline of a base branch is to become. ``old`` is what was read: None when there was none."""

    project: str
    base_branch: str
    old: Decimal | None
    new: Decimal
    sha: str


def baseline(connection: Connection, project: str, base_branch: str) -> float | None:
    """The line rate (a share, 0 to 1) that a merge must reach; None before the first one was recorded."""
    found = reached(connection, project, base_branch)
    return None if found is None else float(found.line_rate)


def reached(connection: Connection, project: str, base_branch: str) -> Reached | None:
    """The baseline as it stands, exactly; None before the first merge that was measured."""
    row = connection.execute(
        text("SELECT line_rate, sha FROM coverage_baselines WHERE project = :p AND base_branch = :b"),
        {"p": project, "b": base_branch},
    ).one_or_none()
    return None if row is None else Reached(row.line_rate, row.sha)


def raise_baseline_if_unchanged(connection: Connection, held: HeldLease, rise: Rise) -> Committed | LostRace:
    """Write ``rise.new`` while ``rise.old`` stands, and only upwards.

    Lost race: the epoch moved on, another task wrote it since it was read, or it is that high already.
    """
    if leases.lock_if_epoch_holds(connection, held) is None:
        return LostRace("the epoch moved on")
    done = connection.execute(
        text(_INSERT if rise.old is None else _UPDATE),
        {"p": rise.project, "b": rise.base_branch, "old": rise.old, "new": rise.new, "sha": rise.sha},
    )
    return Committed() if done.rowcount else LostRace("the baseline is no longer what was read, or not below that")
