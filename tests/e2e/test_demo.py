"""`orch demo` as a person runs it: a real process, told to its end or interrupted."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.telling import assert_each_effect_once, assert_told_as_written, command, environment, left_over, tell
from tests.processes import until

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(700)]


def test_the_story_ends_as_written_and_nothing_stays_behind(tmp_path):
    code, answer, progress = tell(tmp_path)
    assert (code, answer["problems"], answer["left_over"]) == (0, [], []), progress[-3000:]
    assert_told_as_written(answer)
    assert_each_effect_once(answer)
    assert left_over(tmp_path / "demo") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_leaves_nothing_behind(tmp_path, number):
    data_dir = tmp_path / "demo"
    with (
        (tmp_path / "progress").open("w+") as progress,
        subprocess.Popen(
            command(data_dir, "--no-browser"), env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=progress
        ) as process,
    ):
        try:
            until(lambda: process.poll() is not None or _has_agent(data_dir), timeout_s=200)
            process.send_signal(number)
            assert process.wait(90) == 3, (tmp_path / "progress").read_text()[-3000:]
        finally:
            process.kill()
    assert left_over(data_dir) == []


def _has_agent(data_dir: Path) -> Sequence[Path]:
    return list((data_dir / "runs").glob("*/request.json"))


def test_a_directory_in_use_is_refused_before_anything_starts(tmp_path):
    (tmp_path / "mine").write_text("")
    done = subprocess.run(
        command(tmp_path, "--json"), env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
