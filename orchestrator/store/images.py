"""Images that were built: by which recipe, under which tag. A tag is built once."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from orchestrator.domain.ownership import Committed, HeldLease, LostRace
from orchestrator.store import leases


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """``recipe_digest``: see ``domain.images``; equal digests mean equal images."""

    project: str
    tag: str
    recipe_digest: str


def newest_tag(connection: Connection, project: str, recipe_digest: str) -> str | None:
    """Tag of the image that this recipe gave last; None when it was never built."""
    row = connection.execute(
        text(
            """SELECT tag FROM images WHERE project = :p AND recipe_digest = :d
            ORDER BY built_at DESC, tag LIMIT 1"""
        ),
        {"p": project, "d": recipe_digest},
    ).one_or_none()
    return None if row is None else str(row.tag)


def record_if_epoch_holds(connection: Connection, held: HeldLease, image: BuiltImage) -> Committed | LostRace:
    """The image was built. A row there is stays: then a predecessor recorded the same build.

    Lost race: the lease was taken away, so whoever has it builds and records.
    """
    if leases.lock_if_epoch_holds(connection, held) is None:
        return LostRace("the epoch moved on")
    connection.execute(
        text(
            """INSERT INTO images (project, tag, recipe_digest, task_id) VALUES (:p, :t, :d, :task)
            ON CONFLICT (project, tag) DO NOTHING"""
        ),
        {"p": image.project, "t": image.tag, "d": image.recipe_digest, "task": held.task_id},
    )
    return Committed()
