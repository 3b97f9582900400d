"""`orch up`: prepare, check, run, and turn what goes wrong into lines and an exit code."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from orchestrator.domain.errors import OrchestratorError
from orchestrator.embedded.places import make_private, places, prepare
from orchestrator.embedded.postgres import prepare_postgres
from orchestrator.embedded.run_as import RunAs
from orchestrator.embedded.valkey import prepare_valkey, valkey_binary
from orchestrator.fleet.lock import DataDirLock
from orchestrator.fleet.needs import FleetSettings
from orchestrator.fleet.probes import require_free_port
from orchestrator.fleet.record import end_leftovers, record_path
from orchestrator.fleet.replacing import lock_when_free
from orchestrator.fleet.services import FLOWER_HOST, FLOWER_USER, build_services, service_environment
from orchestrator.fleet.spare import Spare
from orchestrator.fleet.supervisor import Supervisor


def run_fleet(
    settings: FleetSettings,
    report: Callable[[str], None],
    *,
    stale_ticks: Callable[[], bool] | None = None,
    replace: bool = False,
) -> int:
    """Run the whole fleet in the foreground until SIGINT, SIGTERM or SIGHUP. Only from the main thread.

    ``report`` gets each line for the operator; it must not raise. ``replace``: a fleet that runs there is asked to
    stop, and this one begins when it is gone. Returns the exit code: 0 stopped on request,
    1 it could not start (the line before says why and what to do), 3 stopped before it was ready.
    """
    try:
        make_private(settings.data_dir)
        with lock_when_free(settings.data_dir, report) if replace else DataDirLock(settings.data_dir):
            return _run_locked(settings, report, stale_ticks)
    except OrchestratorError as error:
        report(str(error))
        return 1


def _run_locked(settings: FleetSettings, report: Callable[[str], None], stale_ticks: Callable[[], bool] | None) -> int:
    # Leftovers first: they may hold the ports.
    end_leftovers(record_path(settings.data_dir), report)
    require_free_port(settings.host, settings.port, "ORCH_PORT", "the web")
    require_free_port(FLOWER_HOST, settings.flower_port, "ORCH_FLOWER_PORT", "Flower")
    user = _prepare_stores(settings)
    password_file = settings.data_dir / "flower.password"
    services = build_services(settings, flower_password=flower_password(password_file), postgres_user=user)
    spare = Spare(service_environment(settings), settings.data_dir)
    supervisor = Supervisor(services, settings.data_dir, report, stale_ticks=stale_ticks, spare=spare)
    return supervisor.run(on_ready=lambda: _announce(settings, password_file, report))


def _prepare_stores(settings: FleetSettings) -> RunAs | None:
    where = places(settings.data_dir)
    prepare(where)
    if settings.broker_url is None:
        valkey_binary()  # before the cluster is made: a missing extra leaves nothing half done
        prepare_valkey(where)
    return prepare_postgres(where) if settings.database_url is None else None


def flower_password(path: Path) -> str:
    """The password of Flower's pages, made at the first start; the file is the operator's to read or change."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    password = secrets.token_urlsafe(18)
    with os.fdopen(descriptor, "w") as file:
        file.write(password + "\n")
    return password


def _announce(settings: FleetSettings, password_file: Path, report: Callable[[str], None]) -> None:
    report(f"ready: http://{settings.host}:{settings.port}/")
    report(f"Flower: http://{FLOWER_HOST}:{settings.flower_port}/ (user {FLOWER_USER}, password in {password_file})")
