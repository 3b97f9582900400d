"""The import contracts of setup.cfg, on a small tree of the same shape: each can fail."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


@pytest.fixture(scope="module")
def layers() -> list[str]:
    """The modules of orchestrator that have a layer."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    text = config["importlinter:contract:layers"]["layers"]
    return [name.strip(" ()") for line in text.splitlines() if line for name in line.split("|")]


@pytest.fixture
def project(tmp_path: Path, layers: list[str]) -> Path:
    for name in ["orchestrator", "tasks", "web", *(f"orchestrator/{layer}" for layer in layers)]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


def _check(project: Path) -> subprocess.CompletedProcess[str]:
    command = [str(LINT_IMPORTS), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_a_tree_without_imports_keeps_all_contracts(project: Path) -> None:
    done = _check(project)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_imports_that_go_down_keep_all_contracts(project: Path) -> None:
    (project / "tasks/edges.py").write_text("from orchestrator import bootstrap, settings, ports\n")
    (project / "orchestrator/bootstrap/all.py").write_text("from orchestrator import adapters, store, engine\n")
    (project / "orchestrator/engine/drive.py").write_text("from orchestrator import effects, gates, store, ports\n")
    (project / "orchestrator/store/leases.py").write_text("import sqlalchemy\nfrom orchestrator import domain\n")
    assert _check(project).returncode == 0


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("orchestrator/domain", "from orchestrator import ports", "Imports inside orchestrator go down only"),
        ("orchestrator/adapters", "from orchestrator import engine", "Imports inside orchestrator go down only"),
        ("orchestrator/adapters", "from orchestrator import store", "Imports inside orchestrator go down only"),
        ("orchestrator/gates", "from orchestrator import effects", "Imports inside orchestrator go down only"),
        ("orchestrator/engine", "from orchestrator import adapters", "reach adapters only through ports"),
        ("orchestrator/effects", "from orchestrator import adapters", "reach adapters only through ports"),
        ("orchestrator/domain", "import subprocess", "domain is pure"),
        ("orchestrator/domain", "def f() -> None:\n    import os", "domain is pure"),
        ("orchestrator/engine", "import sqlalchemy", "SQL only in store"),
        ("orchestrator/engine", "import subprocess", "speak to the outside through ports alone"),
        ("orchestrator/effects", "def f() -> None:\n    import httpx", "speak to the outside through ports alone"),
        ("orchestrator/gates", "import urllib.request", "speak to the outside through ports alone"),
        ("orchestrator/store", "import httpx", "store talks to the database and to nothing else"),
        ("orchestrator/fleet", "import web", "tasks and web stand on top"),
        ("tasks", "import web", "tasks and web stand on top"),
        ("tasks", "from orchestrator.adapters import git", "tasks and web get adapters from bootstrap"),
        ("web", "from orchestrator import cli", "do not use the command line"),
    ],
)
def test_an_import_that_goes_up_or_aside_breaks_its_contract(
    project: Path, importer: str, imported: str, contract: str
) -> None:
    (project / "orchestrator/adapters/git.py").touch()
    (project / importer / "bad.py").write_text(f"{imported}\n")
    done = _check(project)
    assert done.returncode == 1, done.stdout
    assert any(contract in line and "BROKEN" in line for line in done.stdout.splitlines()), done.stdout


def test_a_module_without_a_layer_breaks_the_contract(project: Path) -> None:
    (project / "orchestrator/helpful.py").touch()
    done = _check(project)
    assert done.returncode == 1
    assert "helpful" in done.stdout


def test_only_the_built_in_adapters_use_the_store(project: Path) -> None:
    trackers = project / "orchestrator/adapters/trackers"
    trackers.mkdir()
    (trackers / "__init__.py").touch()
    (project / "orchestrator/store/rows.py").touch()
    (trackers / "local.py").write_text("from orchestrator.store import rows\n")
    assert _check(project).returncode == 0
    (trackers / "other.py").write_text("from orchestrator.store import rows\n")
    assert _check(project).returncode == 1
