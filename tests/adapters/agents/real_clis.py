"""The real agent CLIs, installed from npm into a folder that is kept, and run where there is no network.

``python -m tests.adapters.agents.real_clis FILE`` runs every case and writes its output, cut to what is read of it,
as lines for ``tests/fixtures/agents``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.views import Outcome
from tests.adapters.agents.real_run import PROVIDER

ROOT: Final = Path(__file__).parents[3]
PACKAGES: Final = {
    "claude": "@anthropic-ai/claude-code",
    "codex": "@openai/codex",
    "gemini": "@google/gemini-cli",
    "opencode": "opencode-ai",
}
_NO_NETWORK: Final = ("bwrap", "--dev-bind", "/", "/", "--unshare-net", "--")
_INSTALL_S: Final = 600


class NotHere(Exception):  # noqa: N818  # no fault: the machine has no npm, no registry or no bubblewrap
    """Why the real CLIs cannot be run on this machine."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to run a CLI without a login; ``outcome`` is what the orchestrator has to make of it."""

    name: str
    cli: str
    outcome: Outcome
    model: str | None = None
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    silence_s: int = 300
    wall_clock_s: int = 300
    reason: str = "exited"


_OPENCODE_PROVIDER: Final = {
    "provider": {"here": {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": PROVIDER}, "models": {"m": {}}}}
}
CASES: Final = (
    Case("no-login", "claude", Outcome.AUTH),
    Case("no-login", "gemini", Outcome.AUTH),
    # Codex looks for a login only when its provider asks for one, and waits for the network for ever until then,
    # saying so again and again: only the wall clock ends it.
    Case("no-login-network-away", "codex", Outcome.OVERLOADED, silence_s=60, wall_clock_s=60, reason="timed-out"),
    Case("no-login-401", "codex", Outcome.AUTH, model="gpt-5", arguments=("-c", f'openai_base_url="{PROVIDER}"')),
    # OpenCode needs no login for its own free models; what it was not let into it does not even know.
    Case("no-login-network-away", "opencode", Outcome.OVERLOADED),
    Case("no-login-unknown-provider", "opencode", Outcome.BAD_START, model="anthropic/claude-sonnet-4-5"),
    Case(
        "no-login-401",
        "opencode",
        Outcome.AUTH,
        model="here/m",
        environment={"OPENCODE_CONFIG_CONTENT": json.dumps(_OPENCODE_PROVIDER)},
    ),
)


def install() -> Path:
    """The folder with the programs; from npm where it is not there yet. ``ORCH_TEST_AGENT_CLIS`` names another one.

    Raises NotHere, with the words of npm.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("ORCH_TEST_AGENT_CLIS") or cache / "orchestrator-tests" / "agent-clis")
    programs = folder / "node_modules" / ".bin"
    if all((programs / name).exists() for name in PACKAGES):
        return programs
    npm = shutil.which("npm")
    if npm is None:
        raise NotHere("npm is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    words = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES.values()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    if done.returncode:
        raise NotHere(f"npm install: {done.stderr.strip()[-500:]}")
    return programs


def without_network() -> None:
    """Raises NotHere where this machine cannot cut a process off from the network."""
    if shutil.which("bwrap") is None:
        raise NotHere("bubblewrap is not installed: nothing else here cuts a CLI off from the network")
    tried = subprocess.run([*_NO_NETWORK, "true"], capture_output=True, text=True, timeout=30, check=False)
    if tried.returncode:
        raise NotHere(f"no network namespace: {tried.stderr.strip()}")


def version(programs: Path, cli: str) -> str:
    """What it says of its version, without the words around it."""
    said = subprocess.run(
        [str(programs / cli), "--version"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    ).stdout
    return next((word for word in said.split() if word[:1].isdigit()), said.strip())


def run(case: Case, programs: Path, base: Path, *, sandbox: str) -> dict[str, Any]:
    """Run it through runner and shim, cut off from the network; what ``real_run`` tells of it."""
    asked = {
        "cli": case.cli,
        "programs": str(programs),
        "path": os.environ.get("PATH", os.defpath),
        "base": str(base),
        "sandbox": sandbox,
        "model": case.model,
        "arguments": case.arguments,
        "environment": dict(case.environment),
        "silence_s": case.silence_s,
        "wall_clock_s": case.wall_clock_s,
    }
    argv = [*_NO_NETWORK, sys.executable, "-m", "tests.adapters.agents.real_run", json.dumps(asked)]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT), "HOME": str(base)},
        capture_output=True,
        text=True,
        timeout=case.wall_clock_s + 120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- recordings --------------------------------------------------------------------------------------------

_INIT: Final = ("type", "subtype", "session_id", "model", "permissionMode", "claude_code_version", "mcp_servers")
_LONGEST: Final = 2000


def recorded(case: Case, found: Mapping[str, Any], told_version: str) -> dict[str, object]:
    """One line of a file of recordings: without paths of this machine, and what nobody reads cut."""
    text = json.dumps({"stdout": found["stdout"], "stderr": found["stderr"], "argv": found["argv"]})
    for path in found["paths"]:
        text = text.replace(path, "/home/agent")
    clean = json.loads(text)
    return {
        "case": f"real-{case.name}",
        "version": told_version,
        "args": " ".join(clean["argv"]),
        "exit": found["exit"],
        "stdout": [_event(line) for line in clean["stdout"].splitlines()],
        "stderr": clean["stderr"][-_LONGEST:],
    }


def _event(line: str) -> object:
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if isinstance(event, dict) and event.get("subtype") == "init":
        return {name: event[name] for name in _INIT if name in event}
    return event


def record() -> Iterator[tuple[str, dict[str, object]]]:
    """Every case, run here: its CLI and its line."""
    programs = install()
    without_network()
    for case in CASES:
        with tempfile.TemporaryDirectory() as base:
            found = run(case, programs, Path(base), sandbox="off")
        yield case.cli, recorded(case, found, version(programs, case.cli))


if __name__ == "__main__":
    for name, line in record():
        with Path(sys.argv[1], f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
