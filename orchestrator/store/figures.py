"""The figures of ``GET /metrics``, counted from the rows, so that any number of processes agree. SELECT only.

No figure has an item, a branch or a SHA as a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from sqlalchemy import Connection, text

from orchestrator.domain.stages import Actor
from orchestrator.store import counters, read_models
from orchestrator.store.schema import LIVE_STAGE
from orchestrator.store.stage_durations import Durations, durations


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric: its samples by label values. ``kind``: counter or gauge."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]
    samples: Mapping[tuple[str, ...], float]


def figures(connection: Connection) -> Sequence[Figure]:
    """All figures but the stage durations."""
    counted = counters.read(connection)
    return [*_items(connection), *_from_counters(counted), *(_query(connection, *one) for one in _QUERIES)]


def _items(connection: Connection) -> Iterable[Figure]:
    rows = read_models.board(connection, ended=0)
    now = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    live: Counter[tuple[str, ...]] = Counter((str(row.stage), str(row.state)) for row in rows)
    oldest: dict[tuple[str, ...], float] = {}
    for row in rows:
        key: tuple[str, ...] = (str(row.stage), str(row.state))
        oldest[key] = max(oldest.get(key, 0.0), (now - row.since).total_seconds())
    ended = connection.execute(text(f"SELECT stage, count(*) FROM tasks WHERE NOT ({LIVE_STAGE}) GROUP BY stage"))
    finished: dict[tuple[str, ...], float] = {(str(row[0]), str(row[0])): float(row[1]) for row in ended}
    labels = ("stage", "state")
    yield Figure("items", "gauge", "Work items by stage and state", labels, {**finished, **live})
    yield Figure("oldest_item_seconds", "gauge", "How long the oldest item has been in its state", labels, oldest)


def _from_counters(counted: Mapping[tuple[str, str], int]) -> Iterable[Figure]:
    def of(name: str, known: Iterable[str]) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {
            (label,): float(value) for (one, label), value in counted.items() if one == name
        }
        return {**{(label,): 0.0 for label in known}, **found}

    lost = sum(value for (name, _), value in counted.items() if name == "cas_lost_total")
    defers = sum(value for (name, _), value in counted.items() if name == "finalizer_defers_total")
    yield Figure("reaps_total", "counter", "Jobs and leases reaped, by tier", ("tier",), of("reaps_total", "123"))
    yield Figure("cas_lost_total", "counter", "Stage commits that lost their race", (), {(): float(lost)})
    yield Figure(
        "lease_deferrals_total",
        "counter",
        "Times an actor found a live owner inside and left",
        ("actor",),
        of("lease_deferrals_total", Actor),
    )
    yield Figure("finalizer_defers_total", "counter", "Times the reaper left a live finalizer alone", (), {(): defers})
    yield Figure("task_failures_total", "counter", "Celery tasks that raised", ("task",), of("task_failures_total", ()))
    yield Figure(
        "web_errors_total", "counter", "Requests that raised, by route", ("route",), of("web_errors_total", ())
    )


def _query(
    connection: Connection, name: str, kind: str, words: str, labels: tuple[str, ...], statement: LiteralString
) -> Figure:
    rows = connection.execute(text(statement))
    samples = {tuple(str(one) for one in row[:-1]): float(row[-1]) for row in rows if row[-1] is not None}
    return Figure(name, kind, words, labels, samples)


_QUERIES: Final[tuple[tuple[str, str, str, tuple[str, ...], LiteralString], ...]] = (
    (
        "runs_total",
        "counter",
        "Ended jobs by stage and outcome",
        ("stage", "result"),
        "SELECT stage, coalesce(outcome, status), count(*) FROM jobs WHERE finished_at IS NOT NULL GROUP BY 1, 2",
    ),
    (
        "effects_total",
        "counter",
        "Settled effects by kind and outcome",
        ("kind", "outcome"),
        "SELECT kind, status, count(*) FROM effects WHERE status <> 'claimed' GROUP BY 1, 2",
    ),
    (
        "effects_unresolved",
        "gauge",
        "Open claims by kind",
        ("kind",),
        "SELECT kind, count(*) FROM effects WHERE status = 'claimed' GROUP BY 1",
    ),
    (
        "effect_unresolved_oldest_seconds",
        "gauge",
        "Age of the oldest open claim",
        (),
        """SELECT coalesce(extract(epoch FROM clock_timestamp() - min(claimed_at)), 0) FROM effects
        WHERE status = 'claimed'""",
    ),
    (
        "gate_results_total",
        "counter",
        "Gate results by gate and outcome",
        ("gate", "result"),
        "SELECT gate, outcome, count(*) FROM gate_results GROUP BY 1, 2",
    ),
    (
        "approval_wait_seconds",
        "gauge",
        "How long the longest has waited for a person's approval",
        (),
        f"""SELECT coalesce(extract(epoch FROM clock_timestamp() - min(g.at)), 0) FROM gate_results g
        JOIN tasks t ON t.id = g.task_id AND t.stage_seq = g.visit AND t.round = g.round
        WHERE t.{LIVE_STAGE} AND t.approved_at IS NULL AND g.gate = 'check_approval' AND g.outcome = 'wait'""",
    ),
    (
        "poll_last_success_timestamp_seconds",
        "gauge",
        "When each poll last ended well",
        ("source",),
        """SELECT substr(name, 6), extract(epoch FROM last_success_at) FROM ticks
        WHERE name LIKE 'poll:%' AND last_success_at IS NOT NULL""",
    ),
    (
        "tick_age_seconds",
        "gauge",
        "Time since each sweep last ran",
        ("sweep",),
        "SELECT name, extract(epoch FROM clock_timestamp() - last_at) FROM ticks WHERE name !~ '^(poll|webhook):'",
    ),
    (
        "deploy_last_success_timestamp_seconds",
        "gauge",
        "When a deploy into each environment last ended well",
        ("environment",),
        """SELECT environment, extract(epoch FROM max(finished_at)) FROM deployments WHERE status = 'succeeded'
        GROUP BY 1""",
    ),
    (
        "paused",
        "gauge",
        "Levers that are thrown, by scope",
        ("scope",),
        "SELECT scope, 1 FROM switches WHERE name = 'pause'",
    ),
    (
        "panic",
        "gauge",
        "Whether no new effect may be claimed",
        (),
        "SELECT count(*) FROM switches WHERE name = 'panic'",
    ),
    (
        "inbox_unprocessed",
        "gauge",
        "Deliveries that wait",
        (),
        "SELECT count(*) FROM inbox WHERE processed_at IS NULL",
    ),
    (
        "cost_usd_total",
        "counter",
        "What runs cost",
        ("runtime", "model"),
        "SELECT runtime, '', sum(cost_usd) FROM agent_runs WHERE cost_usd IS NOT NULL GROUP BY 1",
    ),
    (
        "tokens_total",
        "counter",
        "Tokens of runs",
        ("direction",),
        """SELECT d.direction, coalesce(sum(CASE d.direction WHEN 'in' THEN tokens_in ELSE tokens_out END), 0)
        FROM (VALUES ('in'), ('out')) d(direction) LEFT JOIN agent_runs ON true GROUP BY 1""",
    ),
)


def stage_durations(connection: Connection) -> Durations:
    """How long tasks stayed in each stage, of all that left it: forward, roll_back or cancel."""
    return durations(counters.read(connection))
