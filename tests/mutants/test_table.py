"""The table of mutants fits the tree: an edit that drifted, or a killer that was renamed, is found before it is run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tools.mutants.mutant import DoesNotFit, Edit, Mutant, mutated
from tools.mutants.table import MUTANTS, PROTECTIONS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_every_edit_fits_and_changes_what_python_sees(mutant: Mutant) -> None:
    assert set(mutated(mutant, ROOT)) == {edit.file for edit in mutant.edits}


@pytest.mark.parametrize("node", sorted({node for one in MUTANTS for node in one.killers}))
def test_every_killer_is_a_test_of_the_tree(node: str) -> None:
    file, name = node.partition("::")[0], node.rpartition("::")[2].partition("[")[0]
    contracts = (ROOT / "tests" / "adapters" / "contracts").glob("*.py")
    places = [ROOT / file, *(contracts if node.count("::") > 1 else ())]
    known = {one.name for place in places for one in ast.walk(ast.parse(place.read_text())) if hasattr(one, "name")}
    assert name in known


def test_every_protection_of_the_model_is_taken_out_by_a_mutant_of_its_own_name() -> None:
    assert len(PROTECTIONS) == len(set(PROTECTIONS)) == 18
    assert {one.protection for one in MUTANTS} == set(PROTECTIONS)
    names = [one.name for one in MUTANTS]
    assert len(names) == len(set(names))


def test_the_documents_name_every_mutant() -> None:
    table, promises = (ROOT / "docs" / "proofs.md").read_text(), (ROOT / "docs" / "invariants.md").read_text()
    assert [one.name for one in MUTANTS if f"`{one.name}`" not in table] == []
    assert [one.name for one in MUTANTS if f"`{one.name}`" not in promises] == []


def test_each_promise_names_mutants_that_break_it() -> None:
    breaks = {one.name: set(re.findall(r"I\d+", one.breaks)) for one in MUTANTS}
    for promise, named in _rows("invariants.md"):
        assert [name for name in named if promise not in breaks.get(name, ())] == [], promise


def _rows(page: str) -> list[tuple[str, list[str]]]:
    """(number, names in the last cell) of each row of the table of promises."""
    rows = [line.strip("| ") for line in (ROOT / "docs" / page).read_text().splitlines() if line.startswith("| I")]
    return [(row.split(" ", 1)[0], re.findall(r"`([a-z-]+)`", row.rpartition(" | ")[2])) for row in rows]


def test_an_edit_that_drifted_names_its_mutant(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old, count in (("y = 1", 0), ("x = 1", 2)):
        mutant = Mutant("drifted", "lease", "", "", "", (Edit("a.py", old, "x = 2"),), ())
        with pytest.raises(DoesNotFit, match=f"drifted: its old text stands {count} times in a.py"):
            mutated(mutant, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("x = 1", "x = 1  # or so", "changes nothing in a.py"), ("x = 1", "x =", "no Python"), ("x = 1\n", "", None)],
)
def test_an_edit_that_says_nothing_to_python_is_none(tmp_path: Path, old: str, new: str, words: str | None) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    mutant = Mutant("a", "lease", "", "", "", (Edit("a.py", old, new),), ())
    if words is None:
        assert mutated(mutant, tmp_path) == {"a.py": ""}
        return
    with pytest.raises(DoesNotFit, match=words):
        mutated(mutant, tmp_path)
