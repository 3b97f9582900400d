"""The worker of the stand-in: sends deliveries a moment after each change, in no fixed order, as Plane's own does.

Any HTTP answer counts as delivered. A dropped connection is tried again up to five times with the same body and a new
delivery id; after the last the webhook is switched off, and what happens later is dropped.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from orchestrator.demo.doubles.plane.records import Webhook, Workspace, new_id

ATTEMPTS: Final = 6


@dataclass(frozen=True, slots=True)
class Told:
    """One change to be told. ``render`` makes the body when the worker comes to it: by then the data may be newer."""

    event: str
    render: Callable[[Webhook], dict[str, object]]


class Worker:
    """One thread. ``delay_s``: from a change to its delivery; ``retry_s``: the longest wait before another attempt
    (600 in the real one)."""

    def __init__(self, space: Workspace, *, seed: int = 1, delay_s: float = 0.02, retry_s: float = 0.2) -> None:
        self.delay_s, self.retry_s = delay_s, retry_s
        self.duplicates = 0.0
        """Share of deliveries that are sent a second time, as after an answer that took too long."""
        self._space = space
        self._random = random.Random(seed)  # noqa: S311  # repeatable on purpose
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._busy = self._stopped = self._held = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._http: httpx.Client | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(timeout=35)
        if self._http is not None:
            self._http.close()

    def hold(self) -> None:
        """Do nothing until ``release``: what is then told is as new as the release."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def tell(self, changes: Sequence[Told]) -> None:
        """Each change is a delivery of its own; several at once in no fixed order."""
        shuffled = self._random.sample(list(changes), len(changes))
        for one in shuffled:
            self.later(self.delay_s, lambda one=one: self._begin(one))  # type: ignore[misc]  # mypy cannot infer a lambda's default

    def later(self, seconds: float, job: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._jobs, (time.monotonic() + seconds, next(self._order), job))
            self._changed.notify_all()

    def wait_until_idle(self, timeout_s: float = 30.0) -> None:
        """Every delivery, with its retries, is over."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._jobs and not self._busy, timeout_s):
                raise TimeoutError(f"{len(self._jobs)} deliveries are not over")

    def _run(self) -> None:
        while True:
            with self._changed:
                job = self._next()
            if job is None:
                return
            job()
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        while not self._stopped:
            wait_s = None if self._held or not self._jobs else self._jobs[0][0] - time.monotonic()
            if wait_s is not None and wait_s <= 0:
                self._busy = True
                return heapq.heappop(self._jobs)[2]
            self._changed.wait(wait_s)
        return None

    def _begin(self, told: Told) -> None:
        for hook in self._space.webhooks:
            if hook.is_active:
                with self._space.lock:
                    body = json.dumps(told.render(hook)).encode()  # ASCII only, as Plane's
                copies = 2 if self._random.random() < self.duplicates else 1
                for _ in range(copies):
                    self._attempt(hook, told.event, body, 1)

    def _attempt(self, hook: Webhook, event: str, body: bytes, number: int) -> None:
        delivery = new_id()
        status = self._post(hook, event, body, delivery)
        with self._space.lock:
            hook.log.append((delivery, status))
        if status is not None:
            return
        if number < ATTEMPTS:
            wait_s = self._random.uniform(0, self.retry_s)
            self.later(wait_s, lambda: self._attempt(hook, event, body, number + 1))
        else:
            hook.is_active = False

    def _post(self, hook: Webhook, event: str, body: bytes, delivery: str) -> int | None:
        headers = {
            "User-Agent": "Autopilot",
            "Content-Type": "application/json",
            "X-Plane-Delivery": delivery,
            "X-Plane-Event": event,
            "X-Plane-Signature": hmac.new(hook.secret.encode(), body, hashlib.sha256).hexdigest(),
        }
        if self._http is None:
            self._http = httpx.Client(timeout=30.0, limits=httpx.Limits(max_keepalive_connections=0))
        try:
            return self._http.post(hook.url, content=body, headers=headers).status_code
        except httpx.HTTPError:
            return None
