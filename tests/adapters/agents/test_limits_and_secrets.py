"""An agent's own secret reaches it and nobody else, and what it uses has bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.shim_agent import Mask
from orchestrator.domain.errors import ConfigurationError
from tests.adapters.agent_bench import Bench

KEY = "sk-agent-key-0123456789"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.end()


def test_a_credential_reaches_the_agent_and_no_file_of_its_output(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    program = (
        "import os, sys; key = os.environ['A_KEY']; open('got', 'w').write(key);"
        "print('key', key[:9], end='', flush=True); print(key[9:]); print(key, file=sys.stderr)"
    )
    request = bench.request(program, credentials={"A_KEY": str(tmp_path / "key")})
    bench.runs.start(request)
    bench.ended(request)
    assert (bench.worktree / "got").read_text() == KEY
    for name in ("stdout.log", "stderr.log", "shim.log", "exit.json"):
        assert KEY not in (request.run_dir / name).read_text()
    assert "****" in (request.run_dir / "stdout.log").read_text()


def test_a_credential_that_cannot_be_read_names_its_place(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match=r"agents\.development\.credentials\.A_KEY: /no/such cannot be read"):
        bench.runs.start(bench.request(credentials={"A_KEY": "/no/such"}))


def test_a_secret_of_the_orchestrator_is_never_a_credential(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    with pytest.raises(ConfigurationError, match="belongs to the orchestrator"):
        bench.runs.start(bench.request(credentials={"ORCH_GITEA_TOKEN": str(tmp_path / "key")}))


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_a_secret_that_comes_in_two_pieces_is_masked(cut: int) -> None:
    mask, data = Mask([KEY, "other-secret"]), f"a {KEY} b {KEY}".encode()
    at = data.index(KEY.encode()) + cut
    assert mask.take(data[:at]) + mask.take(data[at:]) + mask.rest() == b"a **** b ****"


def test_what_only_begins_like_a_secret_is_not_held_back_for_ever() -> None:
    mask = Mask([KEY])
    assert mask.take(b"sk-agent-") + mask.take(b"other\n") + mask.rest() == b"sk-agent-other\n"


@pytest.mark.parametrize(
    ("program", "limit", "words"),
    [
        (
            "import subprocess, time; [subprocess.Popen(['sleep', '60']) for _ in range(12)]; time.sleep(60)",
            {"processes": 8},
            "processes, at most 8 are allowed",
        ),
        ("import time; held = b'x' * 200_000_000; time.sleep(60)", {"memory_mib": 100}, "bytes of memory"),
    ],
)
def test_an_agent_that_takes_too_much_is_ended_with_the_figure(
    bench: Bench, program: str, limit: dict[str, Any], words: str
) -> None:
    request = bench.request(program, **limit)
    bench.runs.start(request)
    ended = bench.ended(request)
    assert ended.reason == "over-limit"
    assert words in ended.detail


def test_a_file_beyond_the_limit_is_not_written(bench: Bench) -> None:
    request = bench.request("f = open('big', 'wb'); [f.write(b'x' * 65536) for _ in range(64)]", file_size_mib=1)
    bench.runs.start(request)
    bench.ended(request)
    assert (bench.worktree / "big").stat().st_size <= 1024 * 1024
