"""In the sandbox an agent reaches nothing of the orchestrator; every attempt is made by a real process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters import procfs
from orchestrator.adapters.agents import sandbox
from orchestrator.adapters.agents.sandbox import Sandboxes
from orchestrator.adapters.run_directory import marker_of
from orchestrator.domain.configuration import Sandbox
from orchestrator.domain.errors import ConfigurationError
from tests.adapters.agent_bench import Bench
from tests.processes import until

sandboxed = pytest.mark.skipif(bool(sandbox.problem()), reason=f"no sandbox on this machine: {sandbox.problem()}")

TRY = """
import json, os, socket, subprocess
def attempt(act):
    try:
        act()
        return "done"
    except Exception as error:
        return type(error).__name__
results = {name: attempt(act) for name, act in ATTEMPTS.items()}
open("results.json.t", "w").write(json.dumps(results))
os.rename("results.json.t", "results.json")
"""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "data" / "secrets" / "token"
    file.parent.mkdir(parents=True)
    file.write_text("forge-token-that-can-merge")
    return file


@pytest.fixture
def database(tmp_path: Path, secret: Path) -> Iterator[Path]:
    """A socket that answers, where an embedded store has its own."""
    path = tmp_path / "data" / "pg.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        bound.listen()
        yield path


@pytest.fixture
def bench(tmp_path: Path, secret: Path) -> Iterator[Bench]:
    """The base directory lies in a data directory of the orchestrator, as it does in production."""
    made = Bench(tmp_path / "data", Sandboxes((tmp_path / "data",), lambda: (secret,)))
    subprocess.run(["git", "init", "-q", str(made.worktree)], check=True)
    (made.worktree / ".git" / "hooks").mkdir(exist_ok=True)  # as every worktree of ours has it
    yield made
    made.end()


def attempts(bench: Bench, acts: str, mode: Sandbox) -> dict[str, Any]:
    """What became of each act of the agent: "done", or the name of the error."""
    request = bench.request(f"import os, socket, subprocess\nATTEMPTS = {{{acts}}}\n{TRY}", sandbox=mode)
    bench.runs.start(request)
    assert bench.ended(request).reason == "exited"
    found: dict[str, Any] = json.loads((bench.worktree / "results.json").read_text())
    return found


def acts_on(bench: Bench, secret: Path, database: Path) -> str:
    other = bench.worktree.parent / "other-worktree" / "code.py"
    other.parent.mkdir()
    other.write_text("x = 1")
    git = bench.worktree / ".git"
    return ",".join(
        (
            f"'a secret': lambda: open({str(secret)!r}).read()[0]",
            f"'another worktree': lambda: open({str(other)!r}).read()",
            f"'the database socket': lambda: socket.socket(socket.AF_UNIX).connect({str(database)!r})",
            f"'a hook': lambda: open({str(git / 'hooks/pre-push')!r}, 'w')",
            f"'another repository': lambda: (os.rename({str(git)!r}, '.old'), os.rename('.old', {str(git)!r}))",
            f"'git configuration': lambda: open({str(git / 'config')!r}, 'a')",
            f"'a process of another': lambda: os.kill({os.getpid()}, 0)",
            f"'the environment of another': lambda: open('/proc/{os.getpid()}/environ').read()",
        )
    )


@sandboxed
def test_inside_every_attempt_at_what_is_not_its_own_fails(bench: Bench, secret: Path, database: Path) -> None:
    # Tried inside alone: outside, as root, it would succeed on the machine of whoever runs the tests.
    system = "'the system': lambda: open('/etc/orch-red-team', 'w')"
    found = attempts(bench, f"{acts_on(bench, secret, database)},{system}", Sandbox.REQUIRED)
    assert {name: result for name, result in found.items() if result == "done"} == {}


def test_outside_the_same_attempts_succeed_so_the_sandbox_is_what_prevents_them(
    bench: Bench, secret: Path, database: Path
) -> None:
    found = attempts(bench, acts_on(bench, secret, database), Sandbox.OFF)
    assert {name: result for name, result in found.items() if result != "done"} == {}


@sandboxed
def test_a_secret_that_lies_where_the_system_is_seen_is_empty_for_it(tmp_path: Path) -> None:
    """Nobody hides /etc, or wherever the operator keeps a key: the file itself is covered. One that is gone since is
    no reason not to start."""
    seen = Path("/etc/passwd")  # stands for a key: it is there on every machine, and every process reads it
    secrets = (seen, Path("/etc/a-key-that-is-gone"))
    bench = Bench(tmp_path, Sandboxes((tmp_path / "data",), lambda: secrets))
    try:
        found = attempts(bench, "'it': lambda: open('/etc/passwd').read()[0]", Sandbox.REQUIRED)
        assert found == {"it": "PermissionError"} or found == {"it": "IndexError"}
    finally:
        bench.end()


@sandboxed
def test_inside_it_works_as_usual(bench: Bench) -> None:
    acts = ",".join(
        (
            "'its worktree': lambda: open('new.py', 'w').write('x')",
            "'its home': lambda: open(os.path.expanduser('~/state'), 'w').write('x')",
            "'its temporary files': lambda: open(os.environ['TMPDIR'] + '/x', 'w').write('x')",
            "'a program': lambda: subprocess.run(['ls', '/'], check=True)",
            "'orch': lambda: subprocess.run(['orch', '--version'], check=True)",
            "'a git object': lambda: open('.git/objects/ab', 'w')",
        )
    )
    found = attempts(bench, acts, Sandbox.REQUIRED)
    assert {name: result for name, result in found.items() if result != "done"} == {}


@sandboxed
def test_a_program_of_npm_finds_the_packages_beside_its_own(bench: Bench) -> None:
    packages = bench.worktree.parent / "clis" / "node_modules"
    program, beside = packages / "@vendor" / "cli" / "bin" / "cli.sh", packages / "@vendor" / "cli-linux" / "part"
    for file, words in ((program, f"#!/bin/sh\ncat {beside} > found\n"), (beside, "here")):
        file.parent.mkdir(parents=True)
        file.write_text(words)
    program.chmod(0o755)
    (packages / ".bin").mkdir()
    (packages / ".bin" / "cli").symlink_to(program)
    request = bench.request(sandbox=Sandbox.REQUIRED)
    request = replace(request, spec=replace(request.spec, command=(str(packages / ".bin" / "cli"),)))
    bench.runs.start(request)
    assert bench.ended(request).exit_code == 0
    assert (bench.worktree / "found").read_text() == "here"


@sandboxed
def test_the_program_inside_is_asked_before_it_is_ended(bench: Bench) -> None:
    program = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (open('asked', 'w'), sys.exit(0)));"
        "open('up', 'w'); time.sleep(60)"
    )
    request = bench.request(program, sandbox=Sandbox.REQUIRED)
    bench.runs.start(request)
    until((bench.worktree / "up").exists, 20)
    assert bench.runs.stop(request.run_dir, 10)
    assert (bench.worktree / "asked").exists()


@sandboxed
def test_what_it_leaves_behind_inside_is_gone_with_it(bench: Bench) -> None:
    program = (
        "import subprocess, sys; p = subprocess.Popen(['setsid', 'sleep', '300'], stdout=-3, stdin=-3, stderr=-3);"
        "open('left', 'w').write('x')"
    )
    request = bench.request(program, sandbox=Sandbox.REQUIRED)
    bench.runs.start(request)
    ended = bench.ended(request)
    assert (ended.reason, ended.exit_code) == ("exited", 0)
    assert procfs.strays(procfs.Traces(marker_of(request.run_id))) == []


def test_where_no_sandbox_can_be_had_required_refuses_and_preferred_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "problem", lambda: "bwrap is not installed")
    with pytest.raises(ConfigurationError, match=r"sandbox: is required, and bwrap is not installed"):
        bench.runs.start(bench.request(sandbox=Sandbox.REQUIRED))
    request = bench.request("open('ran', 'w')", sandbox=Sandbox.PREFERRED)
    bench.runs.start(request)
    bench.ended(request)
    assert (bench.worktree / "ran").exists()
