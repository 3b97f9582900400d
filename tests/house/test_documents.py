"""What the documents name exists."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_every_make_word_of_the_readme_exists() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    words = set(re.findall(r"`make (\w+)|^ {4}make (\w+)", readme, re.MULTILINE))
    for word in {first or second for first, second in words}:
        assert re.search(rf"^{word}:", makefile, re.MULTILINE), word


def test_every_orch_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"(?:`|^ {4})orch ([a-z][a-z-]*)", (ROOT / "README.md").read_text(), re.MULTILINE))
    done = subprocess.run(
        [sys.executable, "-c", "from orchestrator.cli import main; main()", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    listed = set(re.findall(r"^ +([a-z][a-z-]*)", done.stdout, re.MULTILINE))
    assert named - listed == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)", document.read_text(encoding="utf-8"))
    gone = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).exists()
        or re.search(rf"^\s*(?:def|class) {test}\b", (ROOT / file).read_text(), re.MULTILINE) is None
    ]
    assert gone == []


def test_every_test_of_the_acceptance_folder_stands_in_the_list() -> None:
    page = (ROOT / "docs" / "proofs.md").read_text(encoding="utf-8")
    for file in sorted((ROOT / "tests" / "acceptance").glob("test_*.py")):
        for test in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE):
            assert f"`tests/acceptance/{file.name}::{test}`" in page, f"{file.name}::{test} is in no line of the list"


def test_every_decision_is_in_the_table() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = {path.name for path in folder.glob("[0-9]*.md")}
    assert pages == set(re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text()))


def test_ci_runs_what_the_readme_says() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    made = [line for line in lines if line.startswith("make")]
    assert made[:2] == ["make test", "make lint"]
    assert all(re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for line in made)


def test_what_the_fleet_needs_stands_in_the_metadata() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"].split("\n")
    assert {script.strip() for script in scripts if script} == {
        "orch = orchestrator.cli:main",
        "orchestrator = orchestrator.cli:main",
    }
    assert config["options"]["python_requires"] == ">=3.11"
