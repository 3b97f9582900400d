"""The command, and the tables that the rules read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.lint import allowed
from tools.lint.run import findings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("orchestrator/engine/drive.py", "tests/unit/test_x.py", "web/app.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import os\nx = os.environ\n", encoding="utf-8")
    return tmp_path


def test_the_program_is_judged_by_the_laws_and_tests_only_by_the_habits(project: Path) -> None:
    assert [(finding.path, finding.code) for finding in findings(project)] == [
        ("orchestrator/engine/drive.py", "ORC005"),
        ("web/app.py", "ORC005"),
    ]


def test_the_command_prints_findings_and_exits_one(project: Path) -> None:
    done = _lint(project)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("orchestrator/engine/drive.py:2:5: ORC005 ")


def test_the_command_exits_zero_on_clean_code(tmp_path: Path) -> None:
    (tmp_path / "orchestrator").mkdir()
    assert _lint(tmp_path).returncode == 0


def test_the_command_refuses_a_folder_that_is_no_project(tmp_path: Path) -> None:
    done = _lint(tmp_path)
    assert done.returncode == 2
    assert "project's root" in done.stderr


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.lint", str(root)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_exception_names_a_place_that_exists() -> None:
    places = {
        allowed.STAGE_WRITER,
        allowed.TASK_INSERTER,
        allowed.LEASE_MAKER,
        *allowed.ACT_CALLERS,
        *allowed.OUTWARD_CALLERS,
        *(place for place, _ in allowed.OUTWARD_EXCEPTIONS),
        *allowed.ENVIRONMENT_READERS,
        *allowed.BROAD_CATCHERS,
        *allowed.VENDOR_PLACES,
        *allowed.VENDOR_WORDS_AS_ACTORS,
    }
    assert sorted(place for place in places if not (ROOT / place).exists()) == []
