"""`orch up` before anything has started: what it refuses and how it says so."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.fleet import run_fleet
from orchestrator.fleet.lock import DataDirLock
from orchestrator.fleet.run import flower_password
from orchestrator.settings import Settings, load_settings


def _settings(tmp_path: Path, **more: str) -> Settings:
    return load_settings({"ORCH_DATA_DIR": str(tmp_path / "data"), "ORCH_NODE": "n1"} | more)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return _settings(tmp_path)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize("variable", ["ORCH_PORT", "ORCH_FLOWER_PORT"])
def test_a_taken_port_is_named_with_the_remedy_before_anything_starts(
    tmp_path: Path, taken_port: int, variable: str
) -> None:
    lines: list[str] = []
    settings = _settings(tmp_path, **{variable: str(taken_port)})
    assert run_fleet(settings, lines.append) == 1
    assert len(lines) == 1
    assert f"port {taken_port} on 127.0.0.1" in lines[0]
    assert f"set {variable} to a free port" in lines[0]
    assert [path.name for path in settings.data_dir.iterdir()] == ["fleet.lock"]


def test_a_second_up_names_pid_and_directory_and_touches_nothing(settings: Settings) -> None:
    settings.data_dir.mkdir()
    lines: list[str] = []
    with DataDirLock(settings.data_dir):
        assert run_fleet(settings, lines.append) == 1
    assert len(lines) == 1
    assert f"already runs on {settings.data_dir}: pid {os.getpid()}" in lines[0]
    assert [path.name for path in settings.data_dir.iterdir()] == ["fleet.lock"]


def test_a_data_directory_that_cannot_be_is_named_with_the_remedy(settings: Settings) -> None:
    settings.data_dir.write_text("")
    lines: list[str] = []
    assert run_fleet(settings, lines.append) == 1
    assert f"cannot write to the data directory {settings.data_dir}" in lines[0]
    assert "ORCH_DATA_DIR" in lines[0]


def test_flowers_password_is_made_once_and_only_we_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "flower.password"
    first = flower_password(path)
    assert len(first) >= 20
    assert flower_password(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
