"""`orch demo` as a person runs it: a real process, once as it is and once with chaos."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.processes import until

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(700)]

LIMIT_S = 650.0


def command(data_dir: Path, *options: str) -> list[str]:
    orch = Path(sys.executable).parent / "orch"
    return [str(orch), "demo", "--data-dir", str(data_dir), *options]


def environment(home: Path) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(home),
    }


def tell(tmp_path: Path, *options: str) -> tuple[int, dict, str]:
    """Exit code, answer and progress of one whole demo."""
    done = subprocess.run(
        command(tmp_path / "demo", "--json", *options),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.stdout.startswith("{"), f"exit code {done.returncode}\n{done.stderr[-4000:]}"
    return done.returncode, json.loads(done.stdout), done.stderr


def left_over(data_dir: Path) -> list[str]:
    """Processes that name the directory in their command line, their environment or where they stand."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(str(data_dir) in word for word in words):
            found.append(" ".join(process.cmdline()))
    return found


def ends(answer: dict) -> dict[str, tuple[str, int]]:
    return {one["plan"]: (one["state"], one["roll_backs"]) for one in answer["items"]}


def assert_told_as_written(answer: dict) -> None:
    states = {plan: state for plan, (state, _roll_backs) in ends(answer).items()}
    assert states == {**dict.fromkeys(("weights", "vat", "teapot", "parcel", "rates"), "done"), "rewrite": "cancelled"}
    roll_backs = {plan: count for plan, (_state, count) in ends(answer).items()}
    assert all(roll_backs[plan] >= 1 for plan in ("vat", "teapot", "rates"))


def assert_each_effect_once(answer: dict) -> None:
    wrong = [one for one in answer["claims"] if not one["ok"]]
    assert wrong == []
    kinds = {one["kind"] for one in answer["effects"] if one["counted"] == one["done"] > 0}
    assert {"merge_pr", "start_deploy_production", "roll_back_deploy", "rebuild_image", "notify"} <= kinds


def test_the_story_ends_as_written_and_nothing_stays_behind(tmp_path):
    code, answer, progress = tell(tmp_path)
    assert (code, answer["problems"], answer["left_over"]) == (0, [], []), progress[-3000:]
    assert_told_as_written(answer)
    assert_each_effect_once(answer)
    assert left_over(tmp_path / "demo") == []


def test_the_story_ends_as_written_under_kill_9(tmp_path):
    code, answer, progress = tell(tmp_path, "--chaos", "--seed", "3")
    assert (code, answer["problems"], answer["left_over"]) == (0, [], []), progress[-3000:]
    assert len(answer["kills"]) >= 3
    assert_told_as_written(answer)
    assert_each_effect_once(answer)
    assert left_over(tmp_path / "demo") == []


@pytest.mark.soak
def test_the_story_ends_as_written_over_http_on_a_tracker_and_a_forge_that_misbehave(tmp_path):
    code, answer, progress = tell(tmp_path, "--tracker", "plane", "--forge", "gitea", "--chaos", "--seed", "4")
    assert (code, answer["problems"], answer["left_over"]) == (0, [], []), progress[-3000:]
    assert_told_as_written(answer)
    assert_each_effect_once(answer)
    told = "\n".join(answer["notes"])
    assert "done in git and not in the records" in told, told
    assert "/comments/: done, dropped" in told, told
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
