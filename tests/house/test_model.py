"""The model and the code stay together: each of its steps has functions, and Spin finds what is expected."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "model"
ROW = re.compile(r"^\| `(?P<step>\w+)` \| (?P<functions>`orchestrator.*`) \|$", re.MULTILINE)


def table() -> dict[str, list[str]]:
    page = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    return {row["step"]: re.findall(r"`([\w.]+)`", row["functions"]) for row in ROW.finditer(page)}


def steps() -> set[str]:
    """Labels and inlines of the model, and the faults, which are macros."""
    model = (FOLDER / "transition.pml").read_text(encoding="utf-8")
    return {
        *re.findall(r"^(\w+):(?!:)", model, re.MULTILINE),
        *re.findall(r"^inline (\w+)\(", model, re.MULTILINE),
        *re.findall(r"^#define (KILL|TIER3|DECLARE_LOST|COME_BACK)\b", model, re.MULTILINE),
    }


def found(name: str) -> object:
    """The function of a dotted name: the longest part of it that is a module, and what stands in it."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        owner: object = module
        for part in parts[end:]:
            owner = getattr(owner, part, None)
        return owner
    return None


def test_every_step_of_the_model_has_its_line_in_the_table_and_every_line_its_step() -> None:
    assert len(steps()) > 30
    assert steps() ^ set(table()) == set()


@pytest.mark.parametrize("step", sorted(table()))
def test_every_function_that_a_step_names_exists(step: str) -> None:
    assert table()[step]
    assert [name for name in table()[step] if not callable(found(name))] == []


def test_every_case_names_flags_that_the_model_knows() -> None:
    model = (FOLDER / "transition.pml").read_text(encoding="utf-8")
    cases = [line.split("|") for line in (FOLDER / "expected.txt").read_text().splitlines() if re.match(r"\w", line)]
    assert {case[0].strip() for case in cases} == {"ci", "quick", "full"}
    flags = {flag for case in cases for flag in re.findall(r"-D(\w+)", case[3])}
    assert {flag for flag in flags if not re.search(rf"\b{flag}\b", model)} == set()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_verdict_that_is_not_the_expected_one_is_an_error(tmp_path: Path) -> None:
    if shutil.which("spin") is None or shutil.which("gcc") is None:
        pytest.skip("the model needs spin and gcc: apt-get install spin gcc")
    shutil.copytree(FOLDER, tmp_path / "model")
    no_faults = "-DNACT=2 -DMAXCRASH=0 -DMAXT3=0 -DMAXTO=0 -DMAXLOSS=0"
    expected = [
        f"ci | breaks | without the lease | {no_faults} -DNO_LEASE | 9",
        f"ci | reached | the end | {no_faults} | stage==DEP",
    ]
    good, output = check(tmp_path / "model", expected)
    assert (good, output.count("ok ")) == (0, 2), output
    wrong = [
        f"ci | holds | it does not hold | {no_faults} -DNO_LEASE |",
        f"ci | breaks | nothing breaks | {no_faults} | 9",
        f"ci | reached | nowhere | {no_faults} | n_merge==2",
    ]
    bad, output = check(tmp_path / "model", wrong)
    assert (bad, output.count("WRONG ")) == (1, 3), output


def check(model: Path, expected: list[str]) -> tuple[int, str]:
    (model / "expected.txt").write_text("\n".join(expected) + "\n")
    done = subprocess.run(
        ["bash", str(model / "check.sh"), "ci"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JOBS": "1"},
    )
    return done.returncode, done.stdout + done.stderr


def test_without_spin_it_says_what_to_install(tmp_path: Path) -> None:
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    done = subprocess.run(
        [str(tmp_path / "bash"), str(FOLDER / "check.sh")],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(tmp_path)},
    )
    assert (done.returncode, done.stderr.strip()) == (2, "the model needs spin: apt-get install spin gcc")
