"""The end: rows, git, deploy log, tracker log and processes held against the invariants. Reads, changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sqlalchemy import text

from orchestrator.demo.counting import count, strays
from orchestrator.demo.outside import Outside, look
from orchestrator.demo.trackers import LocalTables
from orchestrator.store import read_models
from orchestrator.store.database import Store
from orchestrator.store.read_models import ItemPage, ItemState
from tests.chaos.arena import Arena
from tests.chaos.load import OVER, Load

_VERIFY_S: Final = 300.0
_NOT_AT_REST: Final = {
    "leases are held": "SELECT count(*) FROM transition_lease WHERE released_at IS NULL",
    "merge lanes are held": "SELECT count(*) FROM merge_lease WHERE released_at IS NULL",
    "claims are open": "SELECT count(*) FROM effects WHERE status = 'claimed'",
    "jobs are live": "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running') AND task_id IN ("
    "SELECT id FROM tasks WHERE stage IN ('done', 'cancelled'))",
    "deployments have not ended": "SELECT count(*) FROM deployments WHERE status IN ('requested', 'running')",
    "items wait without a dated reason": "SELECT count(*) FROM tasks WHERE stage NOT IN ('done', 'cancelled')"
    " AND parked_at IS NULL AND (reasons = '[]' OR reasons_at IS NULL)",
}
"""What there may be none of when everything rests: I13, I15, I16."""


class _TrackerLog(LocalTables):
    """How often each item came into each state, by the log that the arena keeps in the database."""

    def __init__(self, arena: Arena) -> None:
        super().__init__()
        self.opened(arena.engine, "")
        with arena.store.transaction() as connection:
            rows = connection.execute(text("SELECT item, state, count(*) AS n FROM chaos_states GROUP BY 1, 2")).all()
        self._counted: dict[str, Counter[str]] = {}
        for row in rows:
            self._counted.setdefault(row.item, Counter())[row.state] = int(row.n)

    def entered(self, key: str) -> Counter[str]:
        return self._counted.get(key, Counter())


def violations(arena: Arena, load: Load) -> Iterator[str]:
    """Everything that is wrong while the fleet still runs, at rest."""
    for row in load.restless():
        yield f"I15: {row.work_item} does not come to rest: {row.stage}, {row.state}: {'; '.join(row.reasons)}"
    yield from not_at_rest(arena.store)
    yield from verify(arena)
    yield from _counted(arena, load)


def not_at_rest(store: Store) -> Iterator[str]:
    """What is left open in the rows."""
    with store.transaction() as connection:
        for words, statement in _NOT_AT_REST.items():
            number = int(connection.execute(text(statement)).scalar_one())
            if number:
                yield f"at rest {number} {words}"


def verify(arena: Arena) -> Iterator[str]:
    """`orch verify`, as a person would run it."""
    orch = Path(sys.executable).parent / "orch"
    environment = {**arena.settings.basic_environment(), **arena.settings.environment()}
    done = subprocess.run(
        [str(orch), "verify", "--json"], env=environment, capture_output=True, text=True, timeout=_VERIFY_S
    )
    try:
        found = json.loads(done.stdout)
    except ValueError:
        yield f"orch verify: {done.returncode}: {done.stderr.strip()[-500:]}"
        return
    for breach in found["breaches"]:
        yield f"orch verify: {breach['invariant']} {breach['work_item']}: {breach['evidence']}"
    for project in found["unread"]:
        yield f"orch verify: not read: {project}"


def _counted(arena: Arena, load: Load) -> Iterator[str]:
    """Each line of the ledger beside what landed outside, and what landed without a line."""
    keys = [row.work_item for row in load.rows]
    with arena.store.snapshot() as connection:
        pages = [page for key in keys if (page := read_models.item(connection, key)) is not None]
    outside = _outside(arena, pages, keys)
    counted = count(pages, outside)
    yield from (one.problem for one in counted if one.problem)
    kept = {page.branch for page in pages if page.row.state not in OVER}
    yield from strays(
        pages, counted, replace(outside, branches=outside.branches - kept, worktrees=outside.worktrees - kept)
    )
    yield from _production(outside, pages)


def _outside(arena: Arena, pages: Sequence[ItemPage], keys: Sequence[str]) -> Outside:
    named = {str(row.request["branch"]) for page in pages for row in page.effects if "branch" in row.request}
    found = look(arena.place, arena.engine, _TrackerLog(arena), keys, sorted(named))
    # Alerts of the reaper are no effects: they have no claim.
    told = found.told + _told(arena.second_place.notifications)
    return replace(found, told=Counter({one: n for one, n in told.items() if not one[0].endswith("forced reclaim")}))


def _told(file: Path) -> Counter[tuple[str, str]]:
    if not file.exists():
        return Counter()
    found: list[Mapping[str, object]] = [json.loads(line) for line in file.read_text().splitlines()]
    return Counter((str(line["title"]), str(line["text"])) for line in found)


def _production(outside: Outside, pages: Sequence[ItemPage]) -> Iterator[str]:
    """When nothing hangs between merge and done, what runs is the tip."""
    hang = [page for page in pages if page.row.state is ItemState.PARKED and page.merged_sha]
    seen = outside.production
    if outside.merges and not hang and (not seen.healthy or seen.version != outside.tip):
        yield f"production answers {seen.version}, not the tip of main {outside.tip}: {seen.detail}"


def errors(data_dir: Path) -> Counter[str]:
    """Errors that services logged, by their kind: not violations, since faults cause them, but worth a look."""
    found: Counter[str] = Counter()
    for log in sorted(data_dir.rglob("logs/*.log")):
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                found.update([f"{log.stem}: {one}" for one in _error_of(line)])
    return found


def _error_of(line: str) -> Iterator[str]:
    """The last line of the traceback of a record, without what differs each time."""
    try:
        record = json.loads(line)
    except ValueError:
        return
    exception = str(record.get("exception", "")).strip()
    if exception:
        last = next((one for one in reversed(exception.splitlines()) if _KIND.match(one)), exception.splitlines()[-1])
        yield _VARIES.sub("…", last)[:160]


_KIND: Final = re.compile(r"[\w.]+(Error|Exception|Lost\w*)\b")
_VARIES: Final = re.compile(r"/tmp\S*|0x[0-9a-f]+|[0-9a-f]{12,}|\d+")


def processors() -> int:
    return os.cpu_count() or 1
