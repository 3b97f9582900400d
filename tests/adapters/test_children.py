"""Commands of gates and effects: written down before they start, gone when they are over."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from orchestrator.adapters.children import LeasedChildren
from orchestrator.adapters.host import LinuxHost
from orchestrator.domain.errors import LostRaceError, PermanentError
from orchestrator.domain.ownership import ChildGroup
from tests.processes import is_running


class Announced(list[ChildGroup | None]):
    """What was written to the lease, in order; ``allow`` False is a lease that was taken away."""

    def __init__(self, *, allow: bool = True) -> None:
        super().__init__()
        self.allow = allow
        self.seen_running: list[bool] = []

    def __call__(self, group: ChildGroup | None) -> bool:
        self.append(group)
        return self.allow


def _children(announce: Announced) -> LeasedChildren:
    return LeasedChildren(LinuxHost("here"), announce, {"PATH": os.environ["PATH"]})


def test_the_group_is_announced_before_the_command_starts(tmp_path: Path) -> None:
    marker = tmp_path / "started"

    class Slow(Announced):
        def __call__(self, group: ChildGroup | None) -> bool:
            if group is not None:
                time.sleep(0.2)
                self.seen_running.append(marker.exists())
            return super().__call__(group)

    announced = Slow()
    result = _children(announced).run(["touch", str(marker)], cwd=tmp_path, timeout_s=10)
    assert result.exit_code == 0
    assert announced.seen_running == [False]
    assert marker.exists()


def test_a_group_that_ended_is_taken_off_the_lease(tmp_path: Path) -> None:
    announced = Announced()
    _children(announced).run(["true"], cwd=tmp_path, timeout_s=10)
    assert isinstance(announced[0], ChildGroup)
    assert announced[-1] is None


def test_a_command_does_not_start_when_the_lease_was_taken_away(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    with pytest.raises(LostRaceError):
        _children(Announced(allow=False)).run(["touch", str(marker)], cwd=tmp_path, timeout_s=10)
    assert not marker.exists()


def test_output_and_exit_code_are_those_of_the_command(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    result = _children(Announced()).run([sys.executable, "-c", code], cwd=tmp_path, timeout_s=10)
    assert result.exit_code == 7
    assert "out" in result.output
    assert "err" in result.output
    assert not result.timed_out


def test_a_command_over_its_time_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {pid_file}; wait"
    result = _children(Announced()).run(["/bin/sh", "-c", script], cwd=tmp_path, timeout_s=1)
    assert result.timed_out
    assert not is_running(int(pid_file.read_text()))


def test_what_a_command_left_in_the_background_is_ended(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"sleep 600 >/dev/null 2>&1 & echo $! > {pid_file}"
    result = _children(Announced()).run(["/bin/sh", "-c", script], cwd=tmp_path, timeout_s=30)
    assert result.exit_code == 0
    assert not is_running(int(pid_file.read_text()))


def test_only_the_given_environment_reaches_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_API_TOKEN", "secret-value")
    result = _children(Announced()).run(["env"], cwd=tmp_path, timeout_s=10, environment={"ORCH_SHA": "abc"})
    assert "secret-value" not in result.output
    assert "ORCH_SHA=abc" in result.output


def test_an_empty_command_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"orchestrator\.yml"):
        _children(Announced()).run([], cwd=tmp_path, timeout_s=10)
