"""The one table of what each port method does, read by the rules on effects and on transactions.

``test_ports_table`` compares it with ``orchestrator/ports.py``: a new port method must be placed here first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tools.lint.source import Source, called_name, receiver


@dataclass(frozen=True, slots=True)
class Port:
    """``outward`` methods change the world outside and belong to the ledger; ``slow`` ones only take time or
    look. ``receivers`` are the words by which a value of this port is recognised in code."""

    receivers: tuple[str, ...]
    outward: frozenset[str] = frozenset()
    slow: frozenset[str] = frozenset()
    instant: frozenset[str] = frozenset()


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PORTS: Final = {
    "Clock": Port(("clock",), slow=_names("sleep"), instant=_names("now")),
    "Tracker": Port(
        ("tracker",),
        outward=_names("set_state add_comment"),
        slow=_names("work_item changed_since find_comment"),
    ),
    "GuardedTracker": Port(("tracker",), outward=_names("set_state_if")),
    "WritableTracker": Port(("tracker",), outward=_names("add_item")),
    "ReadsDeliveries": Port(("reader",), slow=_names("hint")),
    "Forge": Port(
        ("forge",),
        outward=_names(
            "open_pull_request merge_pull_request settle_pull_request close_pull_request delete_branch set_status"
        ),
        slow=_names("branch_tip find_pull_requests pull_request statuses"),
        instant=_names("remote_url git_environment"),
    ),
    "TrackerSetup": Port(("setup",), slow=_names("check")),
    "ForgeSetup": Port(("setup",), outward=_names("prepare"), slow=_names("check ping")),
    "Workspaces": Port(
        ("workspace", "git"),
        outward=_names("publish move_aside remove"),
        slow=_names(
            "fetch base_tip branch_tip prepare commit_all build_merge checkout read_file list_files tree_of"
            " changed_files diff is_ancestor commit_message first_parents branches history exists worktrees"
            # What ended tasks left on a node is nobody's effect.
            " changes_of_git remove_if"
        ),
        instant=_names("path_of"),
    ),
    "Host": Port(("host",), slow=_names("kill kill_group"), instant=_names("myself liveness free_bytes")),
    "ChildRunner": Port(("runner", "child"), slow=_names("run")),
    "AgentCli": Port(("agent_cli",), slow=_names("read"), instant=_names("command readable")),
    "AgentRuns": Port(
        ("agent_runs", "runs"),
        slow=_names("start stop report so_far lines forget"),
        instant=_names("owner exit_record output_tail finished acknowledge acknowledged"),
    ),
    "Prompts": Port(("prompts",), instant=_names("render render_repair own_template")),
    "VerdictFiles": Port(("verdict_files",), instant=_names("read")),
    "Deployer": Port(
        ("deployer",), outward=_names("launch"), slow=_names("observe end_command"), instant=_names("command_state")
    ),
    "Notifier": Port(("notifier",), outward=_names("send")),
    "Nudges": Port(("nudge",), slow=_names("drive launch_agent stop_agent finish_job finalize_deploys")),
    "RepositoryConfigs": Port(("repository_configs", "configs"), slow=_names("at")),
}

UNMISTAKABLE: Final = _names(
    "add_comment open_pull_request merge_pull_request settle_pull_request close_pull_request delete_branch"
    " move_aside commit_all build_merge find_pull_requests changed_since find_comment"
)
"""Names that only a port method has, whatever it is called on; others need a receiver that says the port."""


def outward_method(call: ast.Call, source: Source) -> str | None:
    """``Forge.merge_pull_request`` when the call writes to the outside world through a port, else None."""
    return _port_method(call, source, lambda port: port.outward)


def slow_method(call: ast.Call, source: Source) -> str | None:
    """The port method when the call waits for something that is not the database, else None."""
    return _port_method(call, source, lambda port: port.outward | port.slow)


def _port_method(call: ast.Call, source: Source, chosen: Callable[[Port], frozenset[str]]) -> str | None:
    name, on = called_name(call), receiver(call).lower()
    # The statements of the built-in tracker and forge are called as what they serve.
    if not on or on == "super" or source.qualified(call.func).startswith("orchestrator.store."):
        return None
    for title, port in PORTS.items():
        if name in chosen(port) and (name in UNMISTAKABLE or _says(on, port)):
            return f"{title}.{name}"
    return None


def _says(on: str, port: Port) -> bool:
    last = on.rpartition(".")[2]
    return any(re.search(rf"(^|_){word}s?(_|$)", last) for word in port.receivers)
