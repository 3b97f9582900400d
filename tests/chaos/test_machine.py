"""The machine of a run: its own boot id and its own little disk, seen by nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.machine import BOOT_ID

PROGRAM = """
import sys
from pathlib import Path
from orchestrator.adapters.host import LinuxHost
from tests.chaos.machine import OwnMachine, fill

folder = Path(sys.argv[1])
machine, disk = OwnMachine(), folder / "disk"
machine.enter(folder / "boot_id")
if machine.problem:
    print(machine.problem)
    sys.exit(9)
before = LinuxHost("n").boot_id
machine.mount_disk(disk, 1 << 20)
ballast = fill(disk)
try:
    (disk / "more").write_text("x" * 8192)
except OSError as error:
    print(error.errno)
ballast.unlink()
(disk / "more").write_text("x" * 8192)
machine.change_boot_id("another")
print(before, LinuxHost("n").boot_id)
machine.unmount(disk)
machine.leave()
"""


def test_boot_id_and_full_disk_are_those_of_the_run_alone(tmp_path: Path) -> None:
    real = BOOT_ID.read_text().strip()
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True)
    if done.returncode == 9:
        pytest.skip(done.stdout.strip())
    assert done.stderr == ""
    assert done.stdout.split() == ["28", real, "another"]
    assert BOOT_ID.read_text().strip() == real
    assert list((tmp_path / "disk").iterdir()) == []
    assert not (tmp_path / "boot_id").exists()
