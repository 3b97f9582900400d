"""Webhooks as Gitea sends them: signed, one attempt, in the background, no order promised, never again."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from orchestrator.demo.doubles.gitea.records import Hook

_log: Final = logging.getLogger(__name__)
_TIMEOUT_S: Final = 5.0
_GROUPS: Final = {"pull_request": "pull_request", "issue_comment": "pull_request"}
"""Hooks that ask for ``pull_request`` get comments and reviews as well."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: both header words, and the payload."""

    event: str
    event_type: str
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt. ``status`` None: nobody answered, and nobody tries again."""

    event: Event
    url: str
    status: int | None


class Deliveries:
    """Sends events to hooks from a thread of its own. ``sent`` keeps every attempt."""

    def __init__(self) -> None:
        self.sent: list[Delivery] = []
        self._waiting: queue.Queue[tuple[Hook, Event] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, hook: Hook, event: Event) -> None:
        """Queue it when the hook is active and asks for it."""
        wanted = {event.event, event.event_type, _GROUPS.get(event.event, ""), event.event.partition("_approved")[0]}
        if hook.active and wanted & set(hook.events):
            self._waiting.put((hook, event))

    def settle(self) -> None:
        """Wait until all that was queued has been tried."""
        self._waiting.join()

    def stop(self) -> None:
        """End the thread after what is queued."""
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while (one := self._waiting.get()) is not None:
            hook, event = one
            self.sent.append(Delivery(event, hook.url, self._attempt(hook, event)))
            self._waiting.task_done()
        self._waiting.task_done()

    def _attempt(self, hook: Hook, event: Event) -> int | None:
        body = json.dumps(event.body, indent=2).encode()
        try:
            answer = httpx.post(hook.url, content=body, headers=headers_of(hook, event, body), timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            _log.debug("a delivery to %s was lost: %s", hook.url, error)
            return None
        return answer.status_code


def headers_of(hook: Hook, event: Event, body: bytes) -> dict[str, str]:
    """All that Gitea puts on a delivery."""
    right = hmac.new(hook.secret.encode(), body, hashlib.sha256).hexdigest() if hook.secret else ""
    sha1 = hmac.new(hook.secret.encode(), body, hashlib.sha1).hexdigest() if hook.secret else ""
    delivery = str(uuid.uuid4())
    named = {
        f"X-{vendor}-{name}": text
        for vendor in ("Gitea", "Gogs")
        for name, text in (
            ("Delivery", delivery),
            ("Event", event.event),
            ("Event-Type", event.event_type),
            ("Signature", right),
        )
    }
    return {
        **named,
        "Content-Type": "application/json",
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event.event,
        "X-GitHub-Event-Type": event.event_type,
        "X-Gitea-Hook-Installation-Target-Type": "repository",
        "X-Hub-Signature": f"sha1={sha1}",
        "X-Hub-Signature-256": f"sha256={right}",
    }
