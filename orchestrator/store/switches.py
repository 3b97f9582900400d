"""Run-time levers, effective at once: pause (start nothing new), lane (a paused merge lane), panic (no new claim).

A lane that a failed production deploy closed is a lever of its own, named ``<lane>:<work item>``: it holds up all but
the items whose deploys failed, and each of them opens it again by its mend. People can open it at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

_LANE: Final = "lane"


@dataclass(frozen=True, slots=True)
class Switch:
    """A thrown lever. ``scope``: ``*``, a project, or project/base-branch."""

    name: str
    scope: str
    set_by: str
    reason: str
    set_at: datetime


def throw(connection: Connection, name: str, scope: str, by: str, reason: str) -> None:
    """Throw the lever; throwing it again keeps the first who and why."""
    done = connection.execute(
        text(
            """INSERT INTO switches (name, scope, set_by, reason) VALUES (:n, :s, :by, :r)
            ON CONFLICT (name, scope) DO NOTHING"""
        ),
        {"n": name, "s": scope, "by": by, "r": reason},
    ).rowcount
    if done:
        _record(connection, f"switch.{name}", scope, by, reason)


def release(connection: Connection, name: str, scope: str, by: str) -> bool:
    """Put the lever back; False when it was not thrown."""
    done = connection.execute(
        text("DELETE FROM switches WHERE name = :n AND scope = :s"), {"n": name, "s": scope}
    ).rowcount
    if done:
        _record(connection, f"switch.{name}_released", scope, by, "")
    return bool(done)


def _record(connection: Connection, kind: str, scope: str, by: str, reason: str) -> None:
    connection.execute(
        text(
            """INSERT INTO events (kind, actor, detail)
            VALUES (:k, :by, jsonb_build_object('scope', CAST(:s AS text), 'reason', CAST(:r AS text)))"""
        ),
        {"k": kind, "by": by, "s": scope, "r": reason},
    )


def thrown(connection: Connection) -> Sequence[Switch]:
    """Every lever that is thrown now."""
    rows = connection.execute(text("SELECT name, scope, set_by, reason, set_at FROM switches ORDER BY name, scope"))
    return [Switch(**row._mapping) for row in rows]


def close_lane(connection: Connection, lane: str, work_item: str, reason: str) -> None:
    """After the production deploy of ``work_item`` failed: only a mend of it merges. ``lane``: project/base-branch."""
    throw(connection, _LANE, f"{lane}:{work_item}", f"deploy of {work_item}", reason)


def open_lane(connection: Connection, lane: str, work_item: str) -> bool:
    """The mend of ``work_item`` has merged; False when the lane was not closed for it."""
    return release(connection, _LANE, f"{lane}:{work_item}", f"mend of {work_item}")


def resume_lane(connection: Connection, lane: str, by: str) -> bool:
    """Undo a person's pause and every closure; False when there was none."""
    closed = [one.scope for one in thrown(connection) if one.name == _LANE and one.scope.startswith(f"{lane}:")]
    released = [release(connection, _LANE, scope, by) for scope in (lane, *closed)]
    return any(released)


def lane_bar(connection: Connection, lane: str, work_item: str) -> str | None:
    """Why ``work_item`` may not merge now; None when it may."""
    levers = {one.scope: one for one in thrown(connection) if one.name == _LANE}
    if lane in levers:
        by, why = levers[lane].set_by, levers[lane].reason
        return f"the merge lane {lane} is paused by {by}" + (f": {why}" if why else "")
    failed = [scope.partition(":")[2] for scope in levers if scope.startswith(f"{lane}:")]
    if not failed or work_item in failed:
        return None
    return (
        f"the merge lane {lane} is closed, for the production deploy of {', '.join(failed)} failed: "
        "a mend of it opens the lane, or a person by `orch lane resume`"
    )
