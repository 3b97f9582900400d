"""Where the embedded stores keep their files, and the URLs that follow from that alone.

Everything is computed from the data directory, so that a command in another shell finds the running stores
without asking anybody.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from orchestrator.embedded.errors import EmbeddedStoreError

DATABASE = "orchestrator"
DATABASE_USER = "postgres"
# sun_path holds 108 bytes on Linux and 104 on macOS, with the closing NUL.
SOCKET_PATH_LIMIT = 103
_POSTGRES_SOCKET = ".s.PGSQL.5432"
_VALKEY_SOCKET = "valkey.sock"


@dataclass(frozen=True, slots=True)
class Places:
    """Directories of one data directory. ``runtime`` holds only sockets and may lie elsewhere (short path)."""

    data_dir: Path
    runtime: Path

    @property
    def postgres_data(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def postgres_socket_dir(self) -> Path:
        return self.runtime / "pg"

    @property
    def valkey_data(self) -> Path:
        return self.data_dir / "valkey"

    @property
    def valkey_socket(self) -> Path:
        return self.runtime / _VALKEY_SOCKET

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    def database_url(self, database: str = DATABASE) -> str:
        """SQLAlchemy URL of a database in the embedded Postgres."""
        host = quote(str(self.postgres_socket_dir), safe="/")
        return f"postgresql+psycopg://{DATABASE_USER}@/{database}?host={host}"

    @property
    def broker_url(self) -> str:
        """kombu URL of the embedded Valkey (kombu knows no valkey:// scheme)."""
        return f"redis+socket://{quote(str(self.valkey_socket), safe='/')}?virtual_host=0"


def places(data_dir: Path) -> Places:
    """Places for ``data_dir``; reads the file system only to resolve the path.

    A socket path has a hard limit: under a long data directory the sockets go to a short private directory.
    """
    root = data_dir.resolve()
    runtime = root / "run"
    longest = runtime / "pg" / _POSTGRES_SOCKET
    if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT:
        runtime = _short_runtime(root)
    return Places(root, runtime)


def prepare(where: Places) -> None:
    """Make the directories, private to us. Raises EmbeddedStoreError, naming the place, when that cannot be."""
    for path in (where.data_dir, where.runtime, where.valkey_data, where.logs):
        make_private(path)
    if where.runtime.parent != where.data_dir:
        _refuse_foreign(where.runtime)


def _short_runtime(root: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    return Path("/tmp") / f"orch-{os.geteuid()}-{digest}"  # noqa: S108  # checked in prepare()


def make_private(path: Path) -> None:
    """Make a directory that only we may enter, with its parents. Raises EmbeddedStoreError if that cannot be."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        raise _not_writable(path, error.strerror or str(error)) from error
    if not writable:
        raise _not_writable(path, "permission denied")


def _not_writable(path: Path, why: str) -> EmbeddedStoreError:
    return EmbeddedStoreError(
        f"cannot write to the data directory {path}: {why}",
        remedy="set ORCH_DATA_DIR to a directory that this user may write to",
    )


def _refuse_foreign(path: Path) -> None:
    # Anybody may have put this name into /tmp before us.
    seen = os.lstat(path)
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
        raise EmbeddedStoreError(
            f"{path} is not a private directory of this user",
            remedy="remove it, or set ORCH_DATA_DIR to a shorter path",
        )
