"""Failpoints: legal names only, the right hit fires, nothing in production."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator import failpoints
from orchestrator.domain.errors import ConfigurationError, TransientError


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def run(text: str, code: str, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from orchestrator.failpoints import hit\n{code}"],
        env={**os.environ, "ORCH_FAILPOINTS": text, **(extra or {})},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_an_unarmed_point_does_nothing_and_asks_nothing() -> None:
    failpoints.hit("no.such.point")


def test_the_named_hit_fires_and_only_that_one() -> None:
    failpoints.arm("lease.acquired=raise@2")
    failpoints.hit("lease.acquired")
    with pytest.raises(failpoints.FailpointError):
        failpoints.hit("lease.acquired")
    failpoints.hit("lease.acquired")


def test_points_of_gates_and_effects_carry_their_names() -> None:
    failpoints.arm("gate.check_coverage.before=raise,effect.merge_pr.sent=drop_answer")
    with pytest.raises(TransientError):
        failpoints.hit("effect.merge_pr.sent")
    with pytest.raises(failpoints.FailpointError):
        failpoints.hit("gate.check_coverage.before")
    failpoints.hit("effect.open_pr.sent")


def test_a_full_disk_looks_like_a_full_disk() -> None:
    failpoints.arm("job.claimed=enospc")
    with pytest.raises(OSError) as caught:
        failpoints.hit("job.claimed")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "entry",
    [
        "lease.aquired=kill",
        "effect.nothing.sent=kill",
        "lease.acquired",
        "lease.acquired=die",
        "lease.acquired=sleep",
        "lease.acquired=sleep:x",
        "lease.acquired=wait",
        "lease.acquired=kill:now",
        "lease.acquired=kill@0",
    ],
)
def test_an_entry_that_means_nothing_is_refused_and_named(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="ORCH_FAILPOINTS") as caught:
        failpoints.arm(f"stage.before_commit=raise,{entry}")
    assert entry in caught.value.message
    failpoints.hit("stage.before_commit")


def test_arming_in_production_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="refused"):
        failpoints.arm("lease.acquired=kill", production=True)


def test_an_armed_process_refuses_a_point_that_is_not_in_the_list() -> None:
    failpoints.arm("lease.acquired=raise")
    with pytest.raises(ConfigurationError, match=r"lease\.lost"):
        failpoints.hit("lease.lost")


def test_kill_is_a_kill_of_the_process_itself() -> None:
    assert run("lease.acquired=kill", "hit('lease.acquired')").returncode == -signal.SIGKILL


def test_the_variable_does_nothing_in_production() -> None:
    done = run("lease.acquired=kill", "hit('lease.acquired'); print('alive')", {"ORCH_ENV": "production"})
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_wait_says_that_it_waits_and_goes_on_when_told(tmp_path: Path) -> None:
    go = tmp_path / "go"
    failpoints.arm(f"deploy.won=wait:{go}")
    waiting = threading.Thread(target=failpoints.hit, args=("deploy.won",), daemon=True)
    waiting.start()
    reached = tmp_path / "go.reached"
    while not reached.exists():
        waiting.join(0.01)
    assert waiting.is_alive()
    go.touch()
    waiting.join(60)
    assert not waiting.is_alive()
