"""The Celery app. ``celery -A tasks …`` finds it here, with its Celery tasks and its inspect and control commands."""

from __future__ import annotations

import warnings

from celery import Celery
from celery.platforms import SecurityWarning

from tasks.children import LookForDeadChildren

# Workers may run as root (containers do): the orchestrator accepts JSON of ids only, so this warning has no point.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("orchestrator", task_cls="tasks.base:EngineTask")
app.config_from_object("celeryconfig", force=True)
app.steps["worker"].add(LookForDeadChildren)

# The command line knows inspect and control commands only of what this module itself imports.
from tasks import bodies, budgets, control, startup, watch  # noqa: E402  # they need ``app``

__all__ = ["app", "bodies", "budgets", "control", "startup", "watch"]
