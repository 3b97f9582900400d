"""What programs that watch are told."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from orchestrator.domain.stages import Stage
from orchestrator.store import counters, stage_durations, switches, ticks
from orchestrator.store.database import Store
from tests.rows import QUEUE_KEYS, start_task, take

METRICS = {
    "orch_items",
    "orch_oldest_item_seconds",
    "orch_stage_duration_seconds",
    "orch_runs",
    "orch_effects",
    "orch_effects_unresolved",
    "orch_effect_unresolved_oldest_seconds",
    "orch_reaps",
    "orch_cas_lost",
    "orch_lease_deferrals",
    "orch_gate_results",
    "orch_approval_wait_seconds",
    "orch_poll_last_success_timestamp_seconds",
    "orch_deploy_last_success_timestamp_seconds",
    "orch_paused",
    "orch_cost_usd",
    "orch_tokens",
    "orch_build_info",
}
"""Names of the contract, as the parser gives them (a counter without its ``_total``)."""


def _samples(client: FlaskClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """Value by name and label values, in the order of the labels' names."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_queue_has_the_keys_of_the_contract(api: FlaskClient, store: Store) -> None:
    take(store, start_task(store))
    found = api.get("/queue").json
    assert found is not None
    assert list(found) == QUEUE_KEYS
    assert found["transition_lease"][0]["work_item"] == "D-1"
    assert found["switches"]["settings"]["transition_lease_enabled"] is True


def test_readiness_tells_a_broker_that_is_down_and_still_serves(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"], answer.json["database"]) == (200, "degraded", "ok")


def test_readiness_is_whole_with_both_stores(make_app: Callable[..., Flask], broker_url: str) -> None:
    answer = make_app(broker_url=broker_url).test_client().get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "database": "ok", "broker": "ok"})


def test_liveness_names_the_release_where_one_is_set(make_app: Callable[..., Flask]) -> None:
    assert make_app(release="abc123").test_client().get("/livez").json == {"status": "ok", "version": "abc123"}


def test_without_a_database_the_app_lives_and_is_not_ready(make_app: Callable[..., Flask]) -> None:
    client = make_app(database_url="postgresql+psycopg://postgres@/x?host=/nowhere").test_client()
    assert client.get("/livez").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (503, "the database does not answer")


def test_a_schema_of_another_program_is_not_ready(client: FlaskClient, store: Store) -> None:
    with store.transaction() as connection:
        before = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(text("UPDATE alembic_version SET version_num = 'of-tomorrow'"))
    answer = client.get("/readyz")
    with store.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": before})
    assert answer.status_code == 503
    assert "orch db upgrade" in answer.json["status"]


def test_metrics_have_every_name_of_the_contract(api: FlaskClient) -> None:
    answer = api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert {family.name for family in text_string_to_metric_families(answer.text)} >= METRICS


def test_metrics_count_rows(api: FlaskClient, store: Store) -> None:
    task = start_task(store)
    start_task(store, "D-2")
    take(store, task)
    with store.transaction() as connection:
        counters.add(connection, "reaps_total", "1", by=3)
        switches.throw(connection, "pause", "D", "ann", "")
        ticks.record(connection, "poll:D", ok=True)
        ticks.record(connection, "reap", ok=True)
    found = _samples(api)
    assert found["orch_items", ("analysis", "working")] == 1
    assert found["orch_items", ("analysis", "waiting")] == 1
    assert found["orch_reaps_total", ("1",)] == 3
    assert found["orch_reaps_total", ("2",)] == 0
    assert found["orch_paused", ("D",)] == 1
    assert found["orch_poll_last_success_timestamp_seconds", ("D",)] > 1.7e9
    assert found["orch_tick_age_seconds", ("reap",)] < 60


def test_stage_durations_are_counted_by_how_the_stage_was_left(api: FlaskClient, store: Store) -> None:
    steps = [
        (Stage.ANALYSIS, Stage.ARCHITECTURE, 20),
        (Stage.ARCHITECTURE, Stage.DEVELOPMENT, 5),
        (Stage.DEVELOPMENT, Stage.REVIEW, 100),
        (Stage.REVIEW, Stage.DEVELOPMENT, 5.5),
        (Stage.DEVELOPMENT, Stage.CANCELLED, 200_000),
    ]
    with store.transaction() as connection:
        for step in steps:
            stage_durations.count(connection, *step)
    found = _samples(api)
    name = "orch_stage_duration_seconds"
    assert found[f"{name}_count", ("forward", "analysis")] == 1
    assert found[f"{name}_sum", ("forward", "analysis")] == 20
    assert found[f"{name}_bucket", ("10.0", "forward", "analysis")] == 0
    assert found[f"{name}_bucket", ("30.0", "forward", "analysis")] == 1
    assert found[f"{name}_count", ("roll_back", "review")] == 1
    assert found[f"{name}_bucket", ("86400.0", "cancel", "development")] == 0
    assert found[f"{name}_bucket", ("+Inf", "cancel", "development")] == 1
