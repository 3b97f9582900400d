"""What is asked for and cannot be: the place and the mend are named, the exit code is that of the table, and nothing is
half done."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from orchestrator.cli import exits
from orchestrator.cli.failures import explained
from orchestrator.domain.stages import Actor
from orchestrator.engine.drive import drive
from orchestrator.store.database import Store
from tests.cli.conftest import Orch, start
from tests.engine.real_engine import World
from tests.fixtures_stores import PostgresServer

# --- not allowed -----------------------------------------------------------------------------------------


def test_an_author_who_is_not_trusted_adds_nothing(orch: Orch, world: World, tmp_path: Path) -> None:
    config = tmp_path / "orchestrator.yml"
    config.write_text(config.read_text() + "    trusted_authors: [ann]\n")
    answer = orch("add", "DEMO", "Say hello")
    assert (answer.code, answer.out) == (exits.NOT_ALLOWED, "")
    assert "may not start work items of DEMO" in answer.err
    assert "trusted_authors in orchestrator.yml" in answer.err
    assert world.rows("SELECT 1 FROM local_items") == world.rows("SELECT 1 FROM tasks") == []


def test_a_database_user_who_is_not_let_in_is_told_with_the_setting(
    orch: Orch, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_DATABASE_URL", database_url.replace("//postgres@", "//nobody_here@"))
    answer = orch("status")
    assert (answer.code, answer.out) == (exits.NOT_ALLOWED, "")
    assert "nobody_here" in answer.err and "ORCH_DATABASE_URL" in answer.err


@pytest.fixture
def reader(postgres_server: PostgresServer) -> Iterator[str]:
    """A database user without any right on our tables."""
    name = sql.Identifier("t_reader")
    postgres_server.run_sql(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    yield "t_reader"
    postgres_server.run_sql(sql.SQL("DROP ROLE {}").format(name))


def test_a_database_user_without_rights_is_told_whose_rights(
    orch: Orch, world: World, reader: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_DATABASE_URL", database_url.replace("//postgres@", f"//{reader}@"))
    for command in (("status",), ("pause", "DEMO")):
        answer = orch(*command)
        assert (answer.code, answer.out) == (exits.NOT_ALLOWED, ""), answer.err
        assert "permission denied" in answer.err and "ORCH_DATABASE_URL" in answer.err
    assert world.rows("SELECT 1 FROM switches") == []


def test_a_file_that_may_not_be_read_or_written_is_named() -> None:
    refused = PermissionError(errno.EACCES, "Permission denied", "/data/api.token")
    assert explained(refused) == ("/data/api.token: Permission denied", "", exits.NOT_ALLOWED)


# --- still pending ---------------------------------------------------------------------------------------


def test_a_stop_that_is_waited_for_is_pending_until_people_were_told(orch: Orch, world: World) -> None:
    orch("add", "DEMO", "Say hello")
    early = orch("stop", "DEMO-1", "--yes", "--wait", "0", "--json")
    assert (early.code, early.data["state"]) == (exits.PENDING, "stopping")
    [(task,)] = world.rows("SELECT id FROM tasks")
    drive(world.engine, task, Actor.OPERATOR)
    late = orch("stop", "DEMO-1", "--yes", "--wait", "10s", "--json")
    assert (late.code, late.data["state"]) == (exits.DONE, "cancelled")


def test_a_stop_that_comes_too_late_says_so_by_its_code(orch: Orch, world: World, store: Store) -> None:
    start(store)
    world.change("ALTER TABLE tasks DISABLE TRIGGER a_stage_step_follows_the_graph")
    world.change("UPDATE tasks SET stage = 'done'")
    answer = orch("stop", "DEMO-1", "--yes", "--wait", "10s")
    assert answer.code == exits.FAILED
    assert "it is done" in answer.out


def test_a_time_span_that_is_none_is_wrong_use_and_stops_nothing(orch: Orch, world: World, store: Store) -> None:
    start(store)
    answer = orch("stop", "DEMO-1", "--yes", "--wait", "soon")
    assert answer.code == exits.WRONG_USE
    assert "90, 15m, 2h" in answer.err
    assert world.rows("SELECT stop_requested_at FROM tasks") == [(None,)]


# --- the outside -----------------------------------------------------------------------------------------


def test_an_item_whose_repository_cannot_be_reached_waits_and_names_it(
    orch: Orch, world: World, tmp_path: Path
) -> None:
    world.repository.rename(tmp_path / "moved.git")
    assert orch("add", "DEMO", "Say hello").code == exits.DONE
    [(task,)] = world.rows("SELECT id FROM tasks")
    drive(world.engine, task, Actor.OPERATOR)
    answer = orch("why", "DEMO-1")
    assert answer.code == exits.DONE
    assert str(world.repository) in answer.out
    assert world.rows("SELECT stage, stage_seq FROM tasks") == [("analysis", 0)]
    assert world.rows("SELECT 1 FROM effects WHERE status = 'claimed'") == []
    world.repository.with_name("moved.git").rename(world.repository)
