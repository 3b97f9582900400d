"""Whether a worker looks after its children more often than Celery does by itself."""

from __future__ import annotations

from types import SimpleNamespace

from celery.concurrency.asynpool import AsynPool
from kombu.asynchronous import Hub

from tasks import app
from tasks.children import LOOK_S, LookForDeadChildren
from tests.processes import until


def test_the_main_process_of_every_worker_looks_for_dead_children() -> None:
    assert LookForDeadChildren in app.steps["worker"]


def test_it_looks_again_and_again() -> None:
    looks: list[int] = []
    hub = Hub()
    step = LookForDeadChildren(SimpleNamespace())
    step.start(SimpleNamespace(hub=hub, pool=SimpleNamespace(maintain_pool=lambda: looks.append(1))))
    until(lambda: hub.fire_timers() is not None and len(looks) >= 3)
    hub.close()


def test_it_looks_far_more_often_than_the_pool_itself() -> None:
    [own_s] = AsynPool.timers.fget(SimpleNamespace(maintain_pool="look")).values()
    assert own_s > LOOK_S * 5


def test_a_worker_without_a_loop_is_left_alone() -> None:
    LookForDeadChildren(SimpleNamespace()).start(SimpleNamespace(hub=None, pool=None))
