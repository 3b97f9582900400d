"""What the rules let pass, each with its reason. A place that ends with ``/`` is a folder.

A place that no longer exists fails a test: a stale exception is a hole.
"""

from __future__ import annotations

from typing import Final

STAGE_WRITER: Final = "orchestrator/store/stage_commits.py"
TASK_INSERTER: Final = "orchestrator/store/tasks.py"
LEASE_MAKER: Final = "orchestrator/store/leases.py"
ACT_CALLERS: Final = ("orchestrator/engine/effects.py", "orchestrator/effects/")

OUTWARD_CALLERS: Final = {
    "orchestrator/effects/": "the effects themselves",
    "orchestrator/adapters/": "adapters are the outside",
}
"""Who may write to the outside world with every outward method."""

OUTWARD_EXCEPTIONS: Final = {
    (
        "orchestrator/engine/finishing.py",
        "publish",
    ): "the agent's work, to its own branch: conditional on the old value",
    ("orchestrator/engine/finalizer.py", "launch"): "a requested row is its claim; a second deployer loses the row",
    ("orchestrator/engine/intake.py", "add_item"): "before there is a task; the item's key makes it single",
    ("orchestrator/engine/reaper.py", "send"): "an alert may repeat, and goes out when the ledger is what is stuck",
    ("orchestrator/cli/init.py", "prepare"): "an operator connects a repository by hand; repeating it changes nothing",
    ("orchestrator/gates/ci.py", "set_status"): "the last status of a context wins, and the gate reads it back",
}
"""(place, method) -> reason."""

ENVIRONMENT_READERS: Final = {
    "orchestrator/settings.py": "reads the environment once",
    "orchestrator/failpoints.py": "must work in processes that have no settings",
    "orchestrator/adapters/shim.py": "standard library only; runs outside the orchestrator",
}

BROAD_CATCHERS: Final = {
    "orchestrator/cli/__init__.py": "the outermost line of a command",
    "orchestrator/adapters/shim.py": "outermost line of a process: it must leave an exit record",
    "orchestrator/adapters/shim_agent.py": "the child before exec: nothing may unwind into the shim",
    "orchestrator/engine/deliveries.py": "a unit of a sweep: one bad delivery never holds up the next",
    "orchestrator/engine/reaper.py": "a unit of a sweep: one bad row does not stop the rest",
    "orchestrator/engine/reconciler.py": "a unit of a sweep: one bad row does not stop the rest",
    "tasks/base.py": "base class of the Celery tasks",
    "web/errors.py": "handler of every request that raised",
    "tasks/watch.py": "a thread of the worker's main process: one bad look must not end it",
    "tasks/budgets.py": "a thread of the worker's main process: one bad look must not end it",
    "orchestrator/engine/finalizer.py": "a unit of a sweep",
}
"""Process edges: each logs and counts what it caught."""

VENDOR_PLACES: Final = {
    "orchestrator/adapters/": "the place for vendors",
    "orchestrator/settings.py": "names of environment variables",
    "orchestrator/project_config.py": "names of kinds in YAML",
    "orchestrator/domain/configuration.py": "names of kinds in YAML",
    "orchestrator/bootstrap.py": "chooses an adapter by its kind",
    "orchestrator/gates/secret_scan.py": "names whose token it found; the pattern is what the issuer writes into it",
    "orchestrator/cli/init.py": "writes a commented configuration",
    "orchestrator/cli/checks_connections.py": "names of the settings whose secrets doctor looks for",
    "orchestrator/demo/": "stands in for each vendor's server, and says for which",
    "web/webhooks.py": "names of routes",
}

VENDOR_WORDS_AS_ACTORS: Final = {
    "orchestrator/domain/stages.py": "who entered a transition",
    "orchestrator/store/schema.py": "constraint over actors",
    "orchestrator/store/migrations/": "constraint over actors",
}
"""Here ``plane`` and ``gitea`` are words of our own: actors."""

TRANSACTION_OPENERS: Final = frozenset({"begin", "begin_nested", "transaction", "connect"})
"""Context managers of these names hold a database transaction while their block runs."""
