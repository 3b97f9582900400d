"""What the judge of a chaos run finds in the rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy

from orchestrator.store.database import Store
from tests.chaos.judge import errors, not_at_rest

_TASK = "INSERT INTO tasks (work_item, project, title, branch, stage, reasons, reasons_at)"
_OWNER = "'here', 'b', 1, 2, 3"


@pytest.fixture
def store(engine: sqlalchemy.Engine) -> Store:
    """One task that waits with a dated reason: at rest."""
    found = Store(engine)
    change(found, f"{_TASK} VALUES ('D-1', 'D', 't', 'b', 'review', '[\"a reason\"]', now())")
    return found


def change(store: Store, statement: str) -> None:
    with store.transaction("test") as connection:
        connection.exec_driver_sql(statement)


def test_what_rests_is_not_told(store: Store) -> None:
    assert list(not_at_rest(store)) == []


LEFT = {
    "leases are held": f"""INSERT INTO transition_lease (task_id, actor, epoch, owner_node, owner_boot_id, owner_pid_ns,
        owner_pid, owner_start_ticks) SELECT id, 'monitor', 1, {_OWNER} FROM tasks""",
    "merge lanes are held": f"""INSERT INTO merge_lease (project, base_branch, epoch, task_id, lease_epoch,
        owner_node, owner_boot_id, owner_pid_ns, owner_pid, owner_start_ticks)
        SELECT 'D', 'main', 1, id, 1, {_OWNER} FROM tasks""",
    "claims are open": """INSERT INTO effects (task_id, visit, kind, target, epoch, actor)
        SELECT id, 0, 'merge_pr', '#1', 1, 'monitor' FROM tasks""",
    "deployments have not ended": """INSERT INTO deployments (project, environment, task_id, visit, sha)
        SELECT 'D', 'production', id, 0, 'abc' FROM tasks""",
    "without a dated reason": "UPDATE tasks SET reasons = '[]'",
}


@pytest.mark.parametrize(("told", "left"), LEFT.items())
def test_what_is_left_open_is_told(store: Store, told: str, left: str) -> None:
    change(store, left)
    (problem,) = not_at_rest(store)
    assert told in problem


def test_errors_of_services_are_counted_by_their_kind_without_what_differs(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    exception = "Traceback (most recent call last):\n  File x\npsycopg.OperationalError: server {} closed"
    records = [json.dumps({"exception": exception.format(number)}) for number in (17, 18)]
    (logs / "edges.log").write_text("\n".join([*records, "plain words", "{broken", ""]))
    assert dict(errors(tmp_path)) == {"edges: psycopg.OperationalError: server … closed": 2}
