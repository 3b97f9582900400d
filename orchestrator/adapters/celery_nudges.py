"""Nudges as Celery messages, published fail-fast and by name: the sender needs no Celery task of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from celery import Celery
from kombu.exceptions import OperationalError

from orchestrator import messages

_log: Final = logging.getLogger(__name__)


def producer(broker_url: str) -> Celery:
    """A Celery app that can only publish, for processes that run no worker: web and command line."""
    app = Celery("orchestrator-producer", broker=broker_url, set_as_current=False, fixups=())
    app.conf.update(
        broker_transport_options=messages.transport_options(broker_url),
        task_publish_retry_policy=messages.PUBLISH_ONCE,
        task_routes=messages.ROUTES,
        task_default_queue=messages.INTAKE,
        task_ignore_result=True,
        task_send_sent_event=True,
        task_serializer="json",
    )
    return app


class CeleryNudges:
    """``ports.Nudges`` on a broker, and the nudges of the inbox.

    Commit first, publish after. A broker that does not answer is logged and counted in ``lost``, never raised: the rows
    are the truth, and the reconciler nudges again. ``expires`` drops what nobody read for an hour.
    """

    EXPIRES_S: Final = 3600.0

    def __init__(self, app: Celery) -> None:
        self.app: Any = app
        self.lost = 0

    def drive(self, task_id: int, work_item: str, actor: str) -> None:
        self._send(messages.DRIVE, {"task_id": task_id, "work_item": work_item, "actor": str(actor)})

    def launch_agent(self, node: str, job_id: int, work_item: str) -> None:
        self._to_node(messages.LAUNCH_AGENT, node, job_id, work_item)

    def stop_agent(self, node: str, job_id: int, work_item: str) -> None:
        self._to_node(messages.STOP_AGENT, node, job_id, work_item)

    def finish_job(self, node: str, job_id: int, work_item: str) -> None:
        self._to_node(messages.FINISH_JOB, node, job_id, work_item)

    def finalize_deploys(self) -> None:
        self._send(messages.FINALIZE_DEPLOYS, {})

    def process_deliveries(self, delivery_ids: Sequence[int]) -> bool:
        """Have these looked at now, at least one; False when the broker does not answer (the sweep finds the rows)."""
        first, *others = delivery_ids
        more = {"others": others} if others else {}
        return self._send(messages.PROCESS_DELIVERY, {"delivery_id": first, **more})

    def _to_node(self, name: str, node: str, job_id: int, work_item: str) -> None:
        self._send(name, {"job_id": job_id, "work_item": work_item}, queue=messages.agents_queue(node))

    def _send(self, name: str, kwargs: dict[str, object], queue: str | None = None) -> bool:
        chosen = {} if queue is None else {"queue": queue}
        try:
            self.app.send_task(name, kwargs=kwargs, ignore_result=True, expires=self.EXPIRES_S, **chosen)
        except (OperationalError, OSError) as error:
            self.lost += 1
            _log.warning("the broker does not answer, %s is left to the sweeps: %s", name, error)
            return False
        return True
