"""A mutant is killed by a failed assertion and by nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tools.mutants.__main__ import main
from tools.mutants.mutant import Edit, Mutant
from tools.mutants.trial import applied, copied, run_tests, tried
from tools.mutants.verdict import Fate, Happened, judge

ROOT = Path(__file__).parents[2]
TESTS = """\
import subprocess
import sys

import pytest

from guard import guard


@pytest.fixture
def guarded():
    return guard(1)


def test_the_guard_holds():
    assert guard(1) == 1


def test_a_child_process_sees_the_same_guard():
    said = subprocess.run([sys.executable, "-c", "import guard; print(guard.guard(1))"], capture_output=True, text=True)
    assert said.stdout.strip() == "1", said.stderr


def test_of_something_else(guarded):
    assert True
"""
HOLDS, CHILD, OTHER = (
    f"test_guard.py::{name}"
    for name in ("test_the_guard_holds", "test_a_child_process_sees_the_same_guard", "test_of_something_else")
)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A small project with a guard and three tests."""
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "guard.py").write_text("def guard(value):\n    return value\n")
    (plain / "test_guard.py").write_text(TESTS)
    (plain / "setup.cfg").write_text("[tool:pytest]\n")
    shutil.copytree(ROOT / "tools", plain / "tools")
    return plain


def fate(plain: Path, new: str, *nodes: str, old: str = "    return value") -> tuple[Fate, list[str], str]:
    """What becomes of the guard after this edit when ``nodes`` look at it."""
    mutant = Mutant("m", "lease", "", "", "", (Edit("guard.py", old, new),), nodes)
    with applied(mutant, plain) as tree:
        verdict = run_tests(tree, nodes).verdict
    return verdict.fate, [one.node for one in verdict.by], verdict.why


def test_a_failed_assertion_kills_and_its_test_is_named(plain: Path) -> None:
    assert fate(plain, "    return 2", OTHER, HOLDS) == (Fate.KILLED, [HOLDS], "AssertionError: assert 2 == 1")


def test_the_mutant_is_what_child_processes_import(plain: Path) -> None:
    assert fate(plain, "    return 2", CHILD)[:2] == (Fate.KILLED, [CHILD])


def test_a_mutant_that_no_test_misses_survives(plain: Path) -> None:
    assert fate(plain, "    return 2", OTHER)[0] is Fate.SURVIVED


@pytest.mark.parametrize(
    ("new", "nodes"),
    [
        ("    import nothing_of_that_name", (HOLDS,)),
        ("    import nothing_of_that_name", (OTHER,)),
        ("    import nothing_of_that_name", (CHILD,)),
        ("    return valeu", (HOLDS,)),
        ("    return value\n\n\nimport nothing_of_that_name", (HOLDS,)),
        ("    raise RuntimeError", (OTHER,)),
    ],
    ids=["in a test", "in a fixture", "in a child", "a name", "at collection", "a fixture that breaks"],
)
def test_a_mutant_that_does_not_run_is_not_killed(plain: Path, new: str, nodes: tuple[str, ...]) -> None:
    found, by, why = fate(plain, new, *nodes)
    assert (found, by) == (Fate.BROKEN, []), why


def test_what_its_own_killers_miss_is_shown_to_more_tests(plain: Path) -> None:
    mutant = Mutant("m", "lease", "", "", "", (Edit("guard.py", "    return value", "    return 2"),), (OTHER,))
    assert [one.node for one in tried(mutant, plain, wider=("test_guard.py",)).verdict.by] == [HOLDS]
    assert tried(mutant, plain, wider=(OTHER,)).verdict.fate is Fate.SURVIVED


def test_a_killer_that_stays_green_is_told_when_every_killer_is_asked(plain: Path) -> None:
    mutant = Mutant("m", "lease", "", "", "", (Edit("guard.py", "    return value", "    return 2"),), (OTHER, HOLDS))
    assert tried(mutant, plain).verdict.fate is Fate.KILLED
    found = tried(mutant, plain, every=True).verdict
    assert (found.fate, found.why) == (Fate.SURVIVED, f"these stay green: {OTHER}")


def test_a_test_that_does_not_exist_shows_nothing(plain: Path) -> None:
    assert fate(plain, "    return 2", "test_guard.py::test_of_nothing")[0] is Fate.UNCLEAR


def test_a_time_out_of_the_runner_shows_nothing() -> None:
    hung = Happened("t", "call", "failed", 120.0, "Failed", "Timeout (>120.0s) from pytest-timeout.")
    assert judge([hung]).fate is Fate.UNCLEAR


def test_a_copy_has_what_git_knows_and_the_working_tree_stays_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    for name, text in (("a/known.py", "x = 1\n"), ("new.py", "y = 1\n"), ("ignored.py", ""), (".gitignore", "ign*\n")):
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    subprocess.run(["git", "add", "a", ".gitignore"], cwd=root, check=True)
    mutant = Mutant("m", "lease", "", "", "", (Edit("a/known.py", "x = 1", "x = 2"),), ())
    with copied(root) as plain, applied(mutant, plain) as tree:
        assert sorted(str(one.relative_to(tree)) for one in tree.rglob("*.py")) == ["a/known.py", "new.py"]
        assert (tree / "a" / "known.py").read_text() == "x = 2\n"
        assert (plain / "a" / "known.py").read_text() == (root / "a" / "known.py").read_text() == "x = 1\n"
    assert not plain.exists() and not tree.exists()


def test_the_command_lists_and_refuses_names_that_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", "lease-by-age"]) == 0
    assert "TTL" in capsys.readouterr().out
    assert main(["--only", "no-such"]) == 2
    assert "no such mutant: no-such" in capsys.readouterr().err
