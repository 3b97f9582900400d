"""ORC002."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.lint.judging import codes
from tools.lint.outward import PORTS

ROOT = Path(__file__).parents[2]
WRITES = [
    "self.forge.merge_pull_request(1, expected_head=head, message=text)",
    "anything.merge_pull_request(1, expected_head=head, message=text)",
    "ports.forge(project).delete_branch(branch, expected_tip=tip)",
    "ports.trackers[project].set_state(key, state)",
    "tracker_for(project).add_comment(key, marker, text)",
    "deployer.launch(request)",
    "self._notifier.send(notification)",
    "workspaces.publish(branch, new, old)",
    "workspaces.remove(branch)",
]
OTHER = [
    "forge.pull_request(1)",
    "names.remove('x')",
    "channel.send(b'')",
    "browser.launch()",
    "self.set_state(1)",
    "delete_branch = 1",
]


@pytest.mark.parametrize("code", WRITES)
def test_an_outward_write_is_found_outside_the_effects(code: str) -> None:
    for path in ("orchestrator/engine/drive.py", "tasks/edges.py", "web/api.py", "orchestrator/cli/acts.py"):
        assert codes(path, code) == ["ORC002"]


@pytest.mark.parametrize("code", WRITES)
def test_effects_and_adapters_may_write_outside(code: str) -> None:
    assert codes("orchestrator/effects/merge_pr.py", code) == []
    assert codes("orchestrator/adapters/forges/local.py", code) == []


@pytest.mark.parametrize("code", OTHER)
def test_reads_and_other_things_of_the_same_name_pass(code: str) -> None:
    assert codes("orchestrator/engine/drive.py", code) == []


@pytest.mark.parametrize(
    "code",
    [
        "effect.act(context, lease)",
        "EFFECTS[kind].act(context, lease)",
        "from orchestrator.effects import merge_pr\nmerge_pr.revoke(context)",
        "from orchestrator.effects.merge_pr import act\nact(context)",
    ],
)
def test_only_the_performer_calls_act_and_revoke(code: str) -> None:
    assert codes("orchestrator/engine/drive.py", code) == ["ORC002"]
    assert codes("orchestrator/engine/effects.py", code) == []


def test_the_ledger_has_a_revoke_of_its_own() -> None:
    assert codes("orchestrator/engine/cancel.py", "from orchestrator.store import ledger\nledger.revoke(1)") == []


def test_the_agents_work_may_be_published_where_it_is_committed() -> None:
    assert codes("orchestrator/engine/finishing.py", "workspaces.publish(branch, new, old)") == []
    assert codes("orchestrator/engine/finishing.py", "workspaces.remove(branch)") == ["ORC002"]


def test_every_method_of_every_port_is_in_the_table() -> None:
    declared = _port_methods()
    known = {name: port.outward | port.slow | port.instant for name, port in PORTS.items()}
    assert {name: methods - known.get(name, frozenset()) for name, methods in declared.items()} == {
        name: frozenset() for name in declared
    }, "place new port methods in tools/lint/outward.py"
    assert {name for name in known if name not in declared} == set(), "ports that are gone"
    assert [(name, known[name] - declared[name]) for name in known if known[name] - declared[name]] == []


def _port_methods() -> dict[str, frozenset[str]]:
    tree = ast.parse((ROOT / "orchestrator" / "ports.py").read_text(encoding="utf-8"))
    return {
        node.name: frozenset(
            inner.name for inner in node.body if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("__")
        )
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases)
    }
