"""Leftovers of a killed supervisor are ended by identity, never by pid alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.fleet.identity import Machine, ProcessIdentity, identify, machine
from orchestrator.fleet.record import Entry, FleetRecord, end_leftovers, read_record, record_path, write_record
from orchestrator.fleet.service import State


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Some process that runs until it is ended."""
    started = subprocess.Popen([sys.executable, "-ISc", "import time; time.sleep(600)"])
    yield started
    started.kill()
    started.wait()


def _record(pid: int, start_ticks: int, where: Machine) -> FleetRecord:
    entry = Entry("web", State.READY, pid, start_ticks, starts=1, stop_signal=int(signal.SIGTERM))
    return FleetRecord(where, ProcessIdentity(1, 1), ready=True, services=(entry,))


def _ticks(process: subprocess.Popen[bytes]) -> int:
    identity = identify(process.pid)
    assert identity is not None
    return identity.start_ticks


def test_a_recorded_process_that_still_lives_is_ended(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    write_record(record_path(tmp_path), _record(process.pid, _ticks(process), machine()))
    lines: list[str] = []
    end_leftovers(record_path(tmp_path), lines.append)
    assert process.wait(60) == -signal.SIGTERM
    assert lines == [f"ended web (pid {process.pid}), left over from a supervisor that was killed"]


def test_another_process_with_the_recorded_pid_is_left_alone(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    write_record(record_path(tmp_path), _record(process.pid, _ticks(process) - 1, machine()))
    end_leftovers(record_path(tmp_path), lambda line: None)
    assert process.poll() is None


@pytest.mark.parametrize("other", [{"boot_id": "another boot"}, {"pid_ns": 1}])
def test_a_record_of_another_boot_or_container_means_nobody_here(
    tmp_path: Path, process: subprocess.Popen[bytes], other: dict[str, object]
) -> None:
    elsewhere = replace(machine(), **other)  # type: ignore[arg-type]  # the two fields differ in type
    write_record(record_path(tmp_path), _record(process.pid, _ticks(process), elsewhere))
    end_leftovers(record_path(tmp_path), lambda line: None)
    assert process.poll() is None


def test_a_signal_for_a_process_that_is_gone_reaches_nobody(process: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity(process.pid, _ticks(process) + 1)
    assert not identity.send(signal.SIGKILL)
    assert process.poll() is None


def test_a_zombie_does_not_count_as_living() -> None:
    process = subprocess.Popen([sys.executable, "-ISc", "input()"], stdin=subprocess.PIPE)
    identity = identify(process.pid)
    assert identity is not None
    assert identity.end(signal.SIGKILL, 5.0)
    assert not identity.lives()
    process.communicate()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"machine": {}}', '{"services": 3}'])
def test_a_record_that_cannot_be_understood_is_no_record(tmp_path: Path, text: str) -> None:
    path = record_path(tmp_path)
    path.write_text(text)
    assert read_record(path) is None
    end_leftovers(path, lambda line: None)


def test_a_record_is_read_back_as_written(tmp_path: Path) -> None:
    record = _record(7, 70, machine())
    write_record(record_path(tmp_path), record)
    assert read_record(record_path(tmp_path)) == record
    assert record_path(tmp_path).stat().st_mode & 0o777 == 0o600
