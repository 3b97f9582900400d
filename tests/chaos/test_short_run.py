"""A short chaos run with a fixed seed: the fleet, the adversary and the judge as `make chaos` runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.fleet
@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_a_short_run_breaks_nothing(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    argv = [sys.executable, "-m", "tests.chaos", "--minutes", "0.7", "--seed", "4"]
    argv += ["--json", str(report), "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=1400)
    found = json.loads(report.read_text())
    assert (done.returncode, found["violations"]) == (0, []), done.stderr[-4000:]
    assert sum(found["faults"].values()) >= 4
    assert found["items"]["done"] >= 1
