"""Statements of the built-in forge: pull requests and commit statuses. What git holds is read from git, not here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Row, text

from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.ports import CommitStatus, PullRequestState, StatusState
from orchestrator.store.texts import storable


@dataclass(frozen=True, slots=True)
class PullRequestRow:
    """A pull request as the database knows it; its head is a branch in git."""

    number: int
    head_branch: str
    base_branch: str
    state: PullRequestState
    title: str
    body: str
    merge_sha: str | None


_COLUMNS: Final = "number, head_branch, base_branch, state, title, body, merge_sha"


def open_pull_request(
    connection: Connection, project: str, *, head_branch: str, base_branch: str, title: str, body: str
) -> PullRequestRow | LostRace:
    """Write an open pull request with the project's next number. Lost race: one is open for that head and base."""
    # Two writers would read the same maximum. A statement of its own: the next one must see what the last holder wrote.
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('local_pull_requests ' || :project, 0))"),
        {"project": project},
    )
    row = connection.execute(
        text(
            f"""INSERT INTO local_pull_requests (project, number, head_branch, base_branch, title, body)
            SELECT :project, coalesce(max(number), 0) + 1, :head, :base, :title, :body
              FROM local_pull_requests WHERE project = :project
            ON CONFLICT (project, head_branch, base_branch) WHERE state = 'open' DO NOTHING RETURNING {_COLUMNS}"""
        ),
        {
            "project": project,
            "head": head_branch,
            "base": base_branch,
            "title": storable(title),
            "body": storable(body),
        },
    ).one_or_none()
    return LostRace(f"{head_branch} has an open pull request already") if row is None else _pull_request(row)


def pull_request(connection: Connection, project: str, number: int) -> PullRequestRow | None:
    """The pull request as it stands in the database now."""
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM local_pull_requests WHERE project = :project AND number = :number"),
        {"project": project, "number": number},
    ).one_or_none()
    return None if row is None else _pull_request(row)


def pull_requests_from(connection: Connection, project: str, head_branch: str) -> Sequence[PullRequestRow]:
    """Every pull request from that branch, in every state, oldest first."""
    rows = connection.execute(
        text(
            f"""SELECT {_COLUMNS} FROM local_pull_requests WHERE project = :project AND head_branch = :head
            ORDER BY number"""
        ),
        {"project": project, "head": head_branch},
    )
    return [_pull_request(row) for row in rows]


def mark_merged_if_open(connection: Connection, project: str, number: int, merge_sha: str) -> Committed | LostRace:
    """Guard: the pull request is open."""
    return _written(
        connection.execute(
            text(
                """UPDATE local_pull_requests SET state = 'merged', merge_sha = :sha, closed_at = clock_timestamp()
                WHERE project = :project AND number = :number AND state = 'open'"""
            ),
            {"project": project, "number": number, "sha": merge_sha},
        ).rowcount
    )


def mark_closed_if_open(connection: Connection, project: str, number: int) -> Committed | LostRace:
    """Guard: the pull request is open."""
    return _written(
        connection.execute(
            text(
                """UPDATE local_pull_requests SET state = 'closed', closed_at = clock_timestamp()
                WHERE project = :project AND number = :number AND state = 'open'"""
            ),
            {"project": project, "number": number},
        ).rowcount
    )


def set_status(
    connection: Connection, project: str, sha: str, context: str, state: StatusState, description: str
) -> None:
    """Write the status of a context; the newest counts."""
    connection.execute(
        text(
            """INSERT INTO local_statuses (project, sha, context, state, description)
            VALUES (:project, :sha, :context, :state, :description)
            ON CONFLICT (project, sha, context) DO UPDATE
              SET state = excluded.state, description = excluded.description, at = clock_timestamp()"""
        ),
        {"project": project, "sha": sha, "context": context, "state": state, "description": storable(description)},
    )


def statuses(connection: Connection, project: str, sha: str) -> Sequence[CommitStatus]:
    """The newest status of each context, by context."""
    rows = connection.execute(
        text(
            """SELECT context, state, description FROM local_statuses WHERE project = :project AND sha = :sha
            ORDER BY context"""
        ),
        {"project": project, "sha": sha},
    )
    return [CommitStatus(row.context, StatusState(row.state), row.description) for row in rows]


def _written(rows: int) -> Committed | LostRace:
    return Committed() if rows else LostRace("the pull request is not open")


def _pull_request(row: Row[tuple[object, ...]]) -> PullRequestRow:
    values = dict(row._mapping)
    return PullRequestRow(**{**values, "state": PullRequestState(values["state"])})
