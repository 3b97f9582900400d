"""The demo as a person runs it, told to its end, and what must be true of its answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil

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
