"""Celery takes every key that we set, every message has its queue, and every tick its life."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

import pytest
from celery.app.defaults import DEFAULTS

from beat_schedule import schedule_of
from orchestrator import messages
from orchestrator.settings import Timings, load_settings


@pytest.fixture
def config(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return importlib.reload(importlib.import_module("celeryconfig"))


def _values(config: ModuleType) -> Mapping[str, object]:
    kinds = (str, int, float, bool, dict, list, type(None))
    named = {name: value for name, value in vars(config).items() if not name.startswith("_")}
    return {name: value for name, value in named.items() if isinstance(value, kinds) and name != "annotations"}


def test_every_key_is_one_that_celery_knows(config: ModuleType) -> None:
    unknown = set(_values(config)) - set(DEFAULTS)
    assert unknown == set()


def test_messages_are_acknowledged_early_and_none_is_fetched_ahead(config: ModuleType) -> None:
    values = _values(config)
    assert (values["task_acks_late"], values["worker_disable_prefetch"]) == (False, True)
    assert values["worker_soft_shutdown_timeout"] == 30
    assert values["result_backend"] is None
    assert values["accept_content"] == ["json"]


def test_a_dead_broker_costs_a_publisher_little(config: ModuleType) -> None:
    values = _values(config)
    options = values["broker_transport_options"]
    assert isinstance(options, dict)
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (2, 1)
    assert values["task_publish_retry_policy"] == messages.PUBLISH_ONCE
    assert "socket_keepalive" not in options


def test_every_celery_task_of_the_contract_exists_and_has_a_queue(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    app = importlib.import_module("tasks").app
    ours = {name for name in app.tasks if name.startswith("orchestrator.")}
    of_a_node = {messages.LAUNCH_AGENT, messages.STOP_AGENT, messages.FINISH_JOB}
    assert ours == set(messages.ROUTES) | of_a_node
    for name, queue in [(messages.DRIVE, "edges"), (messages.REAP, "sweeps"), (messages.PROCESS_DELIVERY, "intake")]:
        assert app.amqp.router.route({}, name)["queue"].name == queue


def test_a_tick_that_nobody_took_is_dropped_before_the_next(environ: dict[str, str]) -> None:
    timings = load_settings({**environ, "ORCH_REAPER_INTERVAL_S": "2.5"}).timings
    schedule = schedule_of(timings)
    assert schedule["reap"] == {"task": messages.REAP, "schedule": 2.5, "options": {"expires": 2.5}}
    assert {entry["task"] for entry in schedule_of(Timings()).values()} == {
        messages.REAP,
        messages.RECONCILE,
        messages.FINALIZE_DEPLOYS,
        messages.PROCESS_INBOX,
    }
