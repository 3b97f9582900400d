"""Doctor's checks of database and broker, and of what the database says about the fleet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from orchestrator.cli.findings import Finding, Health, guarded
from orchestrator.secret import without_passwords
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SKEW_S: Final = 5.0
_ONE_TRY: Final = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "timeout": 3}
_START: Final = "`orch up` starts it"


def findings(settings: Settings, *, fleet_runs: bool) -> Iterator[Finding]:
    """``settings`` with both URLs. Embedded stores of a fleet that does not run are not looked for."""
    if settings.database_url and (fleet_runs or "ORCH_DATABASE_URL" in settings.sources):
        url = settings.database_url
        yield from guarded("database", f"connect to {without_passwords(url)}", lambda: _database(url, settings))
    else:
        yield Finding("database", "look for a running fleet", "none on this data directory", Health.WARNING, _START)
    if settings.broker_url and (fleet_runs or "ORCH_BROKER_URL" in settings.sources):
        yield _broker(settings.broker_url)


def _database(url: str, settings: Settings) -> Iterator[Finding]:
    from orchestrator.store import migrations
    from orchestrator.store.database import connect

    tried = f"connect to {without_passwords(url)}"
    found, wanted = migrations.current(url), migrations.head()
    if found != wanted:
        got = f"schema version {found or 'none'}, this program needs {wanted}"
        yield Finding("database", tried, got, Health.BAD, "run `orch db upgrade`")
        return
    yield _answers("database", tried, f"answers, schema version {found}", url)
    store = connect(url)
    try:
        with store.snapshot() as connection:
            yield from _clock(connection)
            yield from _levers(connection)
            yield from _nodes(connection)
            yield from _sweeps(connection, settings)
    finally:
        store.engine.dispose()


def _clock(connection: Connection) -> Iterator[Finding]:
    from orchestrator.store import nodes

    skew = (datetime.now(UTC) - nodes.database_time(connection)).total_seconds()
    off = abs(skew) > _SKEW_S
    mend = "set the clock of this machine (NTP): times in logs and pages do not agree" if off else ""
    health = Health.WARNING if off else Health.GOOD
    yield Finding("clock", "compare with the database's", f"{skew:+.1f} s", health, mend)


def _levers(connection: Connection) -> Iterator[Finding]:
    from orchestrator.store import switches

    undo = {"pause": "orch resume", "panic": "orch panic --end", "lane": "orch lane resume PROJECT"}
    thrown = switches.thrown(connection)
    for one in thrown:
        got = f"{one.name} of {one.scope} by {one.set_by} since {one.set_at:%Y-%m-%d %H:%M} {one.reason}".rstrip()
        yield Finding("levers", "look for thrown ones", got, Health.WARNING, f"`{undo[one.name]}` when it is over")
    if not thrown:
        yield Finding("levers", "look for thrown ones", "none")


def _nodes(connection: Connection) -> Iterator[Finding]:
    from orchestrator.store import nodes

    for one in nodes.all_nodes(connection):
        if one.lost_at is not None:
            mend = "start its fleet again, or leave it: its work is done elsewhere"
            yield Finding("nodes", f"last sign of {one.node}", f"lost since {one.lost_at:%H:%M}", Health.WARNING, mend)
        elif one.draining:
            mend = f"`orch drain {one.node} --end` when it may work again"
            yield Finding("nodes", f"state of {one.node}", "draining", Health.WARNING, mend)


def _sweeps(connection: Connection, settings: Settings) -> Iterator[Finding]:
    from orchestrator.store import ticks

    longest = 3 * max(settings.timings.reaper_interval_s, settings.timings.reconciler_interval_s) + 30
    for one in ticks.ages(connection):
        if one.last_error:
            yield Finding("sweeps", f"last pass of {one.name}", one.last_error[:200], Health.WARNING, "see the logs")
        elif one.age_s > longest and not one.name.startswith("webhook:"):
            got = f"{one.age_s:.0f} s ago"
            yield Finding("sweeps", f"last pass of {one.name}", got, Health.WARNING, "see that the fleet runs")


def _broker(url: str) -> Finding:
    from kombu.connection import Connection as Broker
    from kombu.exceptions import OperationalError

    from orchestrator import messages

    tried = f"connect to {without_passwords(url)}"
    try:
        broker = Broker(url, transport_options=messages.transport_options(url))  # type: ignore[no-untyped-call]  # kombu
        with broker:
            broker.ensure_connection(**_ONE_TRY)  # type: ignore[no-untyped-call]  # kombu has no types
    except (OperationalError, OSError) as error:
        mend = "see that it runs; work goes on slowly without it, by the sweeps, once workers reach it again"
        return Finding("broker", tried, str(error), Health.BAD, mend)
    return _answers("broker", tried, "answers", url)


def _answers(part: str, tried: str, got: str, url: str) -> Finding:
    """Agents have the network, since they need their provider: what listens there has to know who asks."""
    if not is_open_to_agents(url):
        return Finding(part, tried, got)
    mend = "let it ask for a password and put that into the address: every agent reaches its port"
    return Finding(part, tried, f"{got}; its address has no password", Health.WARNING, mend)


def is_open_to_agents(url: str) -> bool:
    """Whether the store listens on a port and its address holds no password."""
    parts = urlsplit(url)
    return bool(parts.hostname) and parts.password is None
