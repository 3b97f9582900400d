"""Nudges: ids only, to the right queue, and never an error for a broker that does not answer."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest
import redis

from orchestrator import messages
from orchestrator.adapters.celery_nudges import CeleryNudges, producer
from orchestrator.embedded import Places
from tasks.watch import AGAIN_S, FOREIGN_S, FinishedRuns


def _messages(places: Places, queue: str) -> list[tuple[str, object]]:
    """(task, keyword arguments) of what waits in the queue, oldest first."""
    with redis.Redis(unix_socket_path=str(places.valkey_socket)) as client:
        waiting = [json.loads(one) for one in client.lrange(queue, 0, -1)]
    return [(one["headers"]["task"], json.loads(base64.b64decode(one["body"]))[1]) for one in reversed(waiting)]


def test_each_nudge_goes_to_its_queue_with_ids_only(broker_url: str, valkey_server: Places) -> None:
    nudges = CeleryNudges(producer(broker_url))
    nudges.drive(7, "D-1", "operator")
    nudges.launch_agent("n1", 3, "D-1")
    nudges.stop_agent("n1", 3, "D-1")
    nudges.finish_job("n2", 3, "D-1")
    nudges.finalize_deploys()
    assert nudges.process_deliveries([9])
    assert _messages(valkey_server, "edges") == [
        (messages.DRIVE, {"task_id": 7, "work_item": "D-1", "actor": "operator"})
    ]
    job = {"job_id": 3, "work_item": "D-1"}
    assert _messages(valkey_server, "agents.n1") == [(messages.LAUNCH_AGENT, job), (messages.STOP_AGENT, job)]
    assert _messages(valkey_server, "agents.n2") == [(messages.FINISH_JOB, job)]
    assert _messages(valkey_server, "sweeps") == [(messages.FINALIZE_DEPLOYS, {})]
    assert _messages(valkey_server, "intake") == [(messages.PROCESS_DELIVERY, {"delivery_id": 9})]
    nudges.app.close()


@pytest.mark.parametrize("url", ["redis+socket:///nowhere/valkey.sock?virtual_host=0", "redis://127.0.0.1:1/0"])
def test_a_broker_that_does_not_answer_is_counted_and_forgotten_at_once(url: str) -> None:
    nudges = CeleryNudges(producer(url))
    began = time.monotonic()
    nudges.drive(7, "D-1", "operator")
    assert not nudges.process_deliveries([9])
    assert nudges.lost == 2
    assert time.monotonic() - began < 30
    nudges.app.close()


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_finished_run_is_nudged_again_only_after_a_while() -> None:
    clock = _Clock()
    runs = FinishedRuns(clock)
    there = [Path("/runs/a"), Path("/runs/foreign")]
    assert runs.due(there) == ["a", "foreign"]
    runs.looked_at("a", known=True)
    runs.looked_at("foreign", known=False)
    assert runs.due(there) == []
    clock.now += AGAIN_S
    assert runs.due(there) == ["a"]
    clock.now += FOREIGN_S
    assert runs.due(there) == ["a", "foreign"]


def test_an_acknowledged_run_is_forgotten() -> None:
    runs = FinishedRuns(_Clock())
    runs.looked_at("a", known=True)
    assert runs.due([]) == []
    assert runs.due([Path("/runs/a")]) == ["a"]
