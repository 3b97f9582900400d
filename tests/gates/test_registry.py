"""The registry of gates and what every result is made of."""

from __future__ import annotations

from orchestrator.domain.stages import EDGES, START_GATES
from orchestrator.domain.views import GateOutcome
from orchestrator.gates import FINGERPRINTS, QG_CHECKS
from orchestrator.gates.results import EVIDENCE_LIMIT, Bound, digest, plain
from tests.gates.scene import Scene


def test_every_gate_that_an_edge_or_the_start_asks_for_exists_and_no_other() -> None:
    asked = {*START_GATES, *(gate for edge in EDGES for gate in edge.gates)}
    assert set(QG_CHECKS) == asked


def test_only_known_gates_have_a_fingerprint() -> None:
    assert set(FINGERPRINTS) <= set(QG_CHECKS)


def test_a_fingerprint_is_the_tree_and_the_configuration_that_the_gate_itself_names(scene: Scene) -> None:
    scene.head({"app.py": "two = 2\n"})
    scene.configure(test=("true",))
    assert all(one(scene.context()) is None for one in FINGERPRINTS.values())
    scene.merge()
    for gate, fingerprint in FINGERPRINTS.items():
        result = scene.judge(gate)
        assert result.outcome is GateOutcome.PASS
        assert fingerprint(scene.context()) == (result.tree_sha, result.config_digest), gate


def test_a_result_is_bound_to_head_base_and_tree(scene: Scene) -> None:
    head = scene.head({"app.py": "two = 2\n"})
    result = Bound(scene.context(), "config", "tree").waits("why", 7.0)
    assert (result.head_sha, result.base_sha, result.tree_sha) == (head, scene.base_sha, "tree")
    assert (result.config_digest, result.retry_after_s) == ("config", 7.0)


def test_evidence_has_no_colours_and_nothing_that_the_database_refuses() -> None:
    assert plain("\x1b[1;31mred\x1b[0m \0 \udc80\n") == "red \ufffd ?"


def test_long_evidence_keeps_its_first_line_and_its_end() -> None:
    shown = plain("first line\n" + "x" * 50_000 + "\nthe end")
    assert len(shown) <= EVIDENCE_LIMIT
    assert shown.startswith("first line\n")
    assert shown.endswith("the end")
    assert "[...]" in shown


def test_the_digest_tells_any_change_of_configuration() -> None:
    assert digest("a", ("b", "c")) != digest("a", ("b",), "c")
    assert digest("a", None) != digest("a", "")
