"""The services of one machine, as values. Reads nothing and starts nothing."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.embedded.places import Places, places
from orchestrator.embedded.postgres import postgres_answers, postgres_argv
from orchestrator.embedded.postgres_leftovers import clear_leftovers
from orchestrator.embedded.run_as import RunAs
from orchestrator.embedded.stores import store_environment
from orchestrator.embedded.valkey import prepare_valkey, valkey_answers, valkey_argv
from orchestrator.fleet.needs import FleetSettings
from orchestrator.fleet.probes import answers_http
from orchestrator.fleet.ready_mark import ready_mark
from orchestrator.fleet.service import Rank, Service

FLOWER_USER = "orch"
FLOWER_HOST = "127.0.0.1"  # loopback whatever the web does: its /metrics is open even with a password

EDGES_GRACE_S = 1200.0  # gates take up to 15 minutes, and an edge cut short is done again from its start
WORKER_GRACE_S = 60.0  # intake, sweeps and the starting and stopping of agents take seconds
SOFT_SHUTDOWN_S = 30.0  # worker_soft_shutdown_timeout of the Celery configuration: what SIGQUIT still allows
STORE_GRACE_S = 30.0
RECOVERY_LIMIT_S = 300.0

# Gates and effects are minutes of waiting for git and tests: two at once keep two cores busy.
EDGES_PROCESSES = 2

_TASKS = (sys.executable, "-m", "tasks")


def build_services(
    settings: FleetSettings, *, flower_password: str, postgres_user: RunAs | None = None
) -> list[Service]:
    """Every service that ``settings`` ask for, in no order that matters (ranks decide).

    ``postgres_user``: who runs the embedded Postgres, from ``prepare_postgres``; None: our own user.
    """
    where = places(settings.data_dir)
    env = service_environment(settings)
    services = [_migrations(env), *_workers(settings, env), *_entrances(settings, env, flower_password)]
    if settings.database_url is None:
        services.append(_postgres(where, postgres_user))
    if settings.broker_url is None:
        services.append(_valkey(where))
    return services


def service_environment(settings: FleetSettings) -> dict[str, str]:
    """The whole environment of a service: the settings, and what any program needs. Nothing else of ours.

    Least of all BROKER_URL and its like: Celery takes those before its own configuration.
    """
    where = places(settings.data_dir)
    env = {**settings.basic_environment(), "PYTHONUNBUFFERED": "1", **settings.environment()}
    if settings.database_url is None:
        env["ORCH_DATABASE_URL"] = where.database_url()
    if settings.broker_url is None:
        env["ORCH_BROKER_URL"] = where.broker_url
    return env


def _postgres(where: Places, user: RunAs | None) -> Service:
    return Service(
        name="postgres",
        argv=tuple(postgres_argv(where)),
        env=store_environment(),
        rank=Rank.DATABASE,
        ready=lambda: postgres_answers(where),
        prepare=lambda: clear_leftovers(where.postgres_data, where.postgres_socket_dir),
        stop_signal=signal.SIGINT,  # fast: rolls back what is open; the default one waits for every connection
        death_signal=signal.SIGINT,
        grace_s=STORE_GRACE_S,
        user=user,
        ready_limit_s=RECOVERY_LIMIT_S,
    )


def _valkey(where: Places) -> Service:
    return Service(
        name="valkey",
        argv=tuple(valkey_argv(where)),
        env=store_environment(),
        rank=Rank.BROKER,
        ready=lambda: valkey_answers(where),
        # Each time: its whole directory may be lost, and it must come up empty instead of never again.
        prepare=lambda: _write_configuration(where),
        death_signal=signal.SIGTERM,
        grace_s=STORE_GRACE_S,
    )


def _write_configuration(where: Places) -> None:
    prepare_valkey(where)


def _migrations(env: Mapping[str, str]) -> Service:
    argv = (sys.executable, "-m", "orchestrator.fleet.migrate")
    return Service(name="migrations", argv=argv, env=env, rank=Rank.MIGRATIONS, restart=False)


def _workers(settings: FleetSettings, env: Mapping[str, str]) -> list[Service]:
    prefork, threads = "--pool=prefork", "--pool=threads"
    agents_queue = f"agents.{settings.node}"  # written out: Celery does not expand %h in a queue's name
    return [
        _worker(settings, env, "edges", "edges", (prefork, f"-c{EDGES_PROCESSES}"), EDGES_GRACE_S),
        _worker(settings, env, "intake", "intake", (threads, "-c2")),
        # A pool of their own: two long edges would hold up the reaper that has to mend things.
        _worker(settings, env, "sweeps", "sweeps", (threads, "-c2")),
        # Prefork: it starts processes, and a fork from a threaded process may hang.
        _worker(settings, env, "agents", agents_queue, (prefork, "-c1")),
    ]


def _worker(
    settings: FleetSettings,
    env: Mapping[str, str],
    name: str,
    queue: str,
    pool: Sequence[str],
    grace_s: float = WORKER_GRACE_S,
) -> Service:
    options = ("--without-gossip", "--without-mingle", "--loglevel=INFO", "-I", "orchestrator.fleet.worker_ready")
    words = ("worker", "-n", f"{name}@{settings.node}", "-Q", queue, *pool, *options)
    mark = ready_mark(settings.data_dir, name)
    return Service(
        name=name,
        argv=(*_TASKS, *words),
        env=env,
        rank=Rank.WORKERS,
        ready=mark.exists,
        prepare=lambda: _forget(mark),
        grace_s=grace_s,
        hurry_signal=signal.SIGQUIT,
        hurry_grace_s=SOFT_SHUTDOWN_S + 10.0,
        spare_words=words,
    )


def _entrances(settings: FleetSettings, env: Mapping[str, str], flower_password: str) -> list[Service]:
    return [_beat(settings, env), _web(settings, env), _flower(settings, env, flower_password)]


def _beat(settings: FleetSettings, env: Mapping[str, str]) -> Service:
    # No pid file: a reused pid in it would keep beat from starting, and two beats are harmless.
    schedule = settings.data_dir / "beat" / "schedule"
    words = ("beat", "--pidfile=", "-s", str(schedule), "--loglevel=INFO")
    return Service(
        name="beat",
        argv=(*_TASKS, *words),
        env=env,
        rank=Rank.ENTRANCES,
        prepare=lambda: schedule.parent.mkdir(mode=0o700, exist_ok=True),
        spare_words=words,
    )


def _web(settings: FleetSettings, env: Mapping[str, str]) -> Service:
    shape = ("-k", "gthread", "-w", "1", "--threads", "8", "--no-control-socket", "--graceful-timeout", "5")
    address = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
    return Service(
        name="web",
        argv=(sys.executable, "-m", "gunicorn", *shape, "--bind", address, "web:create_app()"),
        env=env,
        rank=Rank.ENTRANCES,
        ready=answers_http(settings.host, settings.port, "/livez"),
        death_signal=signal.SIGTERM,
    )


def _flower(settings: FleetSettings, env: Mapping[str, str], password: str) -> Service:
    options = (f"--address={FLOWER_HOST}", f"--port={settings.flower_port}", "--read_only=True")
    # The password goes by the environment: everybody on the machine can read a command line.
    return Service(
        name="flower",
        argv=(sys.executable, "-m", "celery", "-A", "tasks", "flower", *options),
        env={**env, "FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{password}"},
        rank=Rank.ENTRANCES,
        ready=answers_http(FLOWER_HOST, settings.flower_port, "/healthcheck"),
        death_signal=signal.SIGTERM,
    )


def _forget(mark: Path) -> None:
    mark.parent.mkdir(mode=0o700, exist_ok=True)
    mark.unlink(missing_ok=True)
