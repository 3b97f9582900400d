"""A migrated database is the declared one, and bringing it there can be repeated, raced and refused."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg import sql
from sqlalchemy import Engine, text

from orchestrator.domain.errors import ConfigurationError, PermanentError, TransientError
from orchestrator.store import migrations
from orchestrator.store.database import create_all
from orchestrator.store.local_schema import metadata
from tests.adapters.contracts.at_once import at_once
from tests.fixtures_stores import PostgresServer
from tests.migrations.catalog import catalog
from tools import schema_dump

_REGENERATE = "run `python -m tools.schema_dump` while nothing is released, else write the next migration"


@pytest.fixture
def empty(postgres_server: PostgresServer) -> Iterator[Engine]:
    """A database without anything in it."""
    name = f"t_{uuid.uuid4().hex[:16]}"
    postgres_server.run_sql(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    engine = sqlalchemy.create_engine(postgres_server.url(name), poolclass=sqlalchemy.NullPool)
    yield engine
    postgres_server.run_sql(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _url(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def _catalog(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return catalog(connection)


def test_a_migrated_database_is_the_declared_one(engine: Engine, empty: Engine) -> None:
    create_all(empty)
    declared, migrated = _catalog(empty), _catalog(engine)
    assert {kind.partition(" ")[0] for kind in declared} == {
        "column", "constraint", "index", "function", "trigger", "edge",
    }  # fmt: skip
    assert migrated == declared, _REGENERATE
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == [], _REGENERATE


def test_an_upgrade_brings_an_empty_database_to_the_head_and_repeating_it_changes_nothing(empty: Engine) -> None:
    assert migrations.current(_url(empty)) is None
    migrations.upgrade(_url(empty))
    assert migrations.current(_url(empty)) == migrations.head()
    with empty.begin() as connection:
        connection.execute(text("INSERT INTO tasks (work_item, project, title, branch) VALUES ('D-1', 'D', 't', 'b')"))
    before = _catalog(empty)
    migrations.upgrade(_url(empty))
    assert _catalog(empty) == before
    with empty.begin() as connection:
        assert connection.execute(text("SELECT work_item FROM tasks")).scalars().all() == ["D-1"]


def test_upgrades_at_once_are_one_upgrade(empty: Engine) -> None:
    assert at_once(3, lambda _index: migrations.upgrade(_url(empty))) == [None, None, None]
    assert migrations.current(_url(empty)) == migrations.head()
    with empty.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() == 1
        assert connection.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar_one() == 0


def test_a_version_of_a_newer_program_is_refused_and_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match=r"9999.*newest is \d{4}.*later one"):
        migrations.upgrade(_url(engine))
    assert migrations.current(_url(engine)) == "9999"


def test_a_failed_migration_leaves_nothing_behind(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE tasks (theirs int)"))
    with pytest.raises(PermanentError, match=r"tasks.*ORCH_DATABASE_URL"):
        migrations.upgrade(_url(empty))
    assert migrations.current(_url(empty)) is None
    with empty.begin() as connection:
        tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars().all()
    assert set(tables) <= {"tasks", "alembic_version"}


def test_a_migration_gives_up_on_a_table_in_use_instead_of_stopping_every_query(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "100ms")
    began = time.monotonic()
    with engine.connect() as reader:
        reader.execute(text("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(TransientError, match="lock timeout"):
            migrations.upgrade(_url(engine))
    assert time.monotonic() - began < 15
    migrations.upgrade(_url(engine))


def test_an_unreachable_database_is_named_with_the_remedy() -> None:
    with pytest.raises(TransientError, match="ORCH_DATABASE_URL"):
        migrations.upgrade("postgresql+psycopg://u:secret@127.0.0.1:1/nowhere")


def test_the_first_migration_is_not_written_again_once_another_follows(
    monkeypatch: pytest.MonkeyPatch, tmp_path, capsys
) -> None:
    monkeypatch.setattr(schema_dump, "VERSIONS", tmp_path)
    monkeypatch.setattr(schema_dump, "FIRST", tmp_path / "v0001_first_schema.py")
    assert schema_dump.main() == 0
    written = (tmp_path / "v0001_first_schema.py").read_text()
    (tmp_path / "v0002_next.py").touch()
    (tmp_path / "v0001_first_schema.py").write_text("frozen")
    assert schema_dump.main() == 1
    assert "v0002_next.py" in capsys.readouterr().err
    assert (tmp_path / "v0001_first_schema.py").read_text() == "frozen"
    assert "CREATE TABLE tasks" in written
