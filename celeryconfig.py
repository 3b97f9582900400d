"""Values of the Celery app. Measured in the fleet's own conditions; each that is not plain says why."""

from __future__ import annotations

from beat_schedule import schedule_of
from orchestrator import messages
from orchestrator.embedded.reachable import with_stores
from orchestrator.settings import load_settings

_settings = with_stores(load_settings())

broker_url = _settings.broker_url
broker_transport_options = messages.transport_options(_settings.broker_url or "")
broker_connection_retry_on_startup = True
# The default gives up after a hundred tries: a worker that waits for its broker must wait as long as it takes.
broker_connection_max_retries = None
result_backend = None
task_ignore_result = True

task_serializer = "json"
accept_content = ["json"]
task_routes = messages.ROUTES
task_default_queue = messages.INTAKE
task_create_missing_queues = True
task_publish_retry_policy = messages.PUBLISH_ONCE

# Early ack: a message is a nudge, and late ack delivers a long edge again past the visibility time-out, to four
# owners at once. What a dead worker had begun is found by its lease.
task_acks_late = False
worker_disable_prefetch = True
worker_prefetch_multiplier = 1
worker_max_tasks_per_child = 200
# The fleet's supervisor counts on this figure when it hurries a worker.
worker_soft_shutdown_timeout = 30
worker_hijack_root_logger = False
# Flower shows who sent what, and what runs.
worker_send_task_events = True
task_send_sent_event = True
task_track_started = True

beat_schedule = schedule_of(_settings.timings)
# So that `celery inspect ping -d celerybeat@…` tells whether beat still ticks.
beat_enable_remote_control = True
timezone = "UTC"
