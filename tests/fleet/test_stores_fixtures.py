"""The store fixtures that every other test stands on."""

from __future__ import annotations

import redis
import sqlalchemy
from sqlalchemy import text

from orchestrator.embedded import Places
from tests.fixtures_stores import PostgresServer


def _write_a_table(engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        tables = connection.scalar(text("SELECT count(*) FROM pg_tables WHERE tablename = 'only_here'"))
        assert tables == 0
        connection.execute(text("CREATE TABLE only_here (id int)"))


def test_one_test_writes_into_a_database_of_its_own(engine: sqlalchemy.Engine) -> None:
    _write_a_table(engine)


def test_another_test_does_not_see_what_the_first_wrote(engine: sqlalchemy.Engine) -> None:
    _write_a_table(engine)


def test_the_server_listens_on_no_tcp_port(postgres_server: PostgresServer) -> None:
    engine = sqlalchemy.create_engine(postgres_server.url("orchestrator"), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW listen_addresses")) == ""


def test_the_broker_is_empty_and_takes_messages(broker_url: str, valkey_server: Places) -> None:
    client = redis.Redis(unix_socket_path=str(valkey_server.valkey_socket))
    assert client.dbsize() == 0
    client.lpush("queue", "message")
    assert client.llen("queue") == 1
    assert broker_url.startswith("redis+socket:///")
