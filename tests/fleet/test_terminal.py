"""`orch up` and `orch top` as people run them: in a terminal, ended by Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.cli import exits
from orchestrator.fleet.record import read_record, record_path
from tests.fleet.conftest import gone, wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
CTRL_C = b"\x03"
_IN_TERMINAL = """import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests in the background ignores it
tty = os.open(sys.argv[1], os.O_RDWR)  # the first terminal that a session leader opens becomes its own
for number in (0, 1, 2):
    os.dup2(tty, number)
from orchestrator.cli import main
sys.argv = ["orch", *sys.argv[2:]]
main()
"""


class Terminal:
    """One `orch` command in a pseudo-terminal of its own. What it wrote is ``text``."""

    def __init__(self, environment: Mapping[str, str], *arguments: str) -> None:
        self._master, slave = pty.openpty()
        self.text = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, os.ttyname(slave), *arguments],
            env={**environment, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(slave)

    def read(self, seconds: float) -> None:
        """Take in what is written within ``seconds``."""
        if select.select([self._master], [], [], seconds)[0]:
            with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
                self.text += os.read(self._master, 65536).decode(errors="replace")

    def until(self, words: str, *, timeout_s: float = 120.0, after: int = 0) -> None:
        deadline = time.monotonic() + timeout_s
        while not re.search(words, self.text[after:]):
            assert time.monotonic() < deadline, f"{words!r} was not written: {self.text}"
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.text}"
            self.read(0.2)

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def code(self, timeout_s: float = 60.0) -> int:
        """Its exit code; what it still writes is read meanwhile, or it would wait for that."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.text}"
            self.read(0.1)
        self.read(0)
        return int(self.process.returncode)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()
            self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for one in reversed(opened):
        one.end()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_in_a_terminal_the_fleet_comes_up_the_board_lives_and_ctrl_c_stops_all_in_order(
    tmp_path: Path, terminals: list[Terminal]
) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "orchestrator.yml").write_text("projects: []\n")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "ORCH_DATA_DIR": str(data_dir),
        "ORCH_NODE": "n1",
        "ORCH_PORT": free_port(),
        "ORCH_FLOWER_PORT": free_port(),
    }
    up = Terminal(environment, "up")
    terminals.append(up)
    up.until(rf"ready: http://127\.0\.0\.1:{environment['ORCH_PORT']}/")
    record = read_record(record_path(data_dir))
    assert record is not None and record.ready
    pids = [entry.pid for entry in record.services if entry.pid]
    assert len(pids) >= 9

    top = Terminal(environment, "top", "--interval", "0.5")
    terminals.append(top)
    top.until("no work items yet")
    first = len(top.text)
    top.until("no work items yet", after=first)
    assert "\x1b[2J" in top.text, "it clears the screen between two boards"
    top.press(CTRL_C)
    assert top.code() == exits.CANCELLED
    assert "Traceback" not in top.text

    up.press(CTRL_C)
    assert up.code() == exits.DONE, up.text
    assert "Traceback" not in up.text
    wait_until(lambda: all(map(gone, pids)), "a process outlived the terminal")
    assert re.search(r"stopping; agents go on.*\bstopped\b", up.text, re.DOTALL)
    assert "Warm shutdown" in (data_dir / "logs" / "edges.log").read_text(), "the workers ended what they did"
    assert "database system is shut down" in (data_dir / "logs" / "postgres.log").read_text()
    after = read_record(record_path(data_dir))
    assert after is not None and {str(entry.state) for entry in after.services} == {"stopped", "done"}
