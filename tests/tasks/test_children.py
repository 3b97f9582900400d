"""Whether a worker looks after its children more often than Celery does by itself."""

from __future__ import annotations

import time
from types import SimpleNamespace

from kombu.asynchronous import Hub

from tasks import app
from tasks.children import LOOK_S, LookForDeadChildren


def test_the_main_process_of_every_worker_looks_for_dead_children() -> None:
    assert LookForDeadChildren in app.steps["worker"]


def test_it_looks_again_and_again() -> None:
    looks: list[float] = []
    hub = Hub()
    step = LookForDeadChildren(SimpleNamespace())
    step.start(SimpleNamespace(hub=hub, pool=SimpleNamespace(maintain_pool=lambda: looks.append(time.monotonic()))))
    for _ in range(3):
        seen = len(looks)
        while len(looks) == seen:
            hub.fire_timers()
            time.sleep(LOOK_S / 50)
    hub.close()


def test_a_worker_without_a_loop_is_left_alone() -> None:
    LookForDeadChildren(SimpleNamespace()).start(SimpleNamespace(hub=None, pool=None))
