"""I18 in the rows: every stored text, streamed past the spellings of the known secrets.

The search is done here and not in the database: a secret in a statement would itself be in the database's logs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg
from psycopg.abc import Buffer
from sqlalchemy import Connection

_BLOCK: Final = 1 << 20
"""So many bytes of rows are searched at once: the search costs nothing a row then, and memory stays small."""

_TEXTS: Final[tuple[tuple[LiteralString, LiteralString], ...]] = (
    ("event", "SELECT id, coalesce(work_item, ''), concat_ws(' ', kind, actor, detail) FROM events"),
    (
        "effect",
        """SELECT e.id, t.work_item, concat_ws(' ', e.target, e.request, e.result)
        FROM effects e JOIN tasks t ON t.id = e.task_id""",
    ),
    (
        "gate result",
        "SELECT g.id, t.work_item, g.gate || ' ' || g.evidence FROM gate_results g JOIN tasks t ON t.id = g.task_id",
    ),
    (
        "job",
        """SELECT j.id, t.work_item, concat_ws(' ', j.evidence, j.detail, j.verdict)
        FROM jobs j JOIN tasks t ON t.id = j.task_id""",
    ),
    (
        "task",
        "SELECT id, work_item, concat_ws(' ', title, body, branch, parked_reason, rejected_why, reasons) FROM tasks",
    ),
    (
        "deployment",
        """SELECT d.id, t.work_item, concat_ws(' ', d.image, d.detail)
        FROM deployments d JOIN tasks t ON t.id = d.task_id""",
    ),
    ("delivery", "SELECT id, coalesce(work_item, ''), error FROM inbox"),
    ("lever", "SELECT name || '/' || scope, '', reason FROM switches"),
    ("tick", "SELECT name, '', summary || ' ' || last_error FROM ticks"),
    ("comment of the built-in tracker", "SELECT id, item, text FROM local_comments"),
    ("item of the built-in tracker", "SELECT key, key, title || ' ' || body FROM local_items"),
    (
        "pull request of the built-in forge",
        "SELECT project || '#' || number, '', title || ' ' || body FROM local_pull_requests",
    ),
    ("status of the built-in forge", "SELECT sha, '', context || ' ' || description FROM local_statuses"),
)
"""(what a row is, its id, work item and texts). What others sent us is not searched: no process of ours let it go."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A row whose text holds a secret: which of the needles, for the caller to name and never to print."""

    kind: str
    id: str
    work_item: str
    needle: bytes


def leaks(connection: Connection, needles: Sequence[bytes]) -> Iterator[Leak]:
    """Every row whose texts hold one of ``needles``, once a needle. Memory does not grow with the rows."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    spelled = {_as_copied(one): one for one in needles}
    for kind, statement in _TEXTS:
        with raw.cursor() as cursor, cursor.copy(f"COPY ({statement}) TO STDOUT") as rows:
            for block in _blocks(rows):
                for copied, needle in spelled.items():
                    if copied in block:
                        yield from (_leak(kind, row, needle) for row in block.splitlines() if copied in row)


def _as_copied(needle: bytes) -> bytes:
    """As COPY writes it in its text format."""
    return needle.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"\n", b"\\n").replace(b"\r", b"\\r")


def _blocks(rows: Iterable[Buffer]) -> Iterator[bytes]:
    """Whole rows, many at once: each piece that COPY hands out is one row."""
    pieces: list[Buffer] = []
    size = 0
    for piece in rows:
        pieces.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join(pieces)


def _leak(kind: str, row: bytes, needle: bytes) -> Leak:
    identity, item, _texts = row.split(b"\t", 2)
    return Leak(kind, identity.decode(), item.decode("utf-8", "replace"), needle)
