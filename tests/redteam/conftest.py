"""A whole project with everything in it that an agent must not reach, and one run of the agent that tries."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

from orchestrator.adapters.forges.bare_repository import create_repository
from orchestrator.domain.configuration import Sandbox
from orchestrator.embedded.places import Places
from orchestrator.embedded.valkey import valkey_binary
from orchestrator.engine import intake, operator
from orchestrator.secret import Secret
from tests.adapters.forge_worlds import GiteaWorld, gitea_world
from tests.engine.real_engine import World, make_world
from tests.processes import first_line
from web import create_app

ATTACK = Path(__file__).with_name("attack.py")
SECRET = "red-team-secret"
RUN_S = 120.0
"""Some fifty attempts, each at most one git call; generous, since the machine may be busy."""
WORKER = Path(__file__).with_name("hidden_worker.py")


@dataclass
class Attacked:
    """What one run got: by the name of the attempt, and what stands outside of its sandbox now."""

    mode: Sandbox
    got: Mapping[str, Mapping[str, Any]]
    world: World
    run_dir: Path
    forge: GiteaWorld
    base_before: str
    forge_base_before: str
    sprung: Path
    obeyed_later: Sequence[str]

    def succeeded(self, attempt: str) -> bool:
        return bool(self.got[attempt]["got"])


def _files(root: Path) -> dict[str, str]:
    """Files with secrets or of others, each where the orchestrator keeps its own."""
    data = root / "data"
    contents = {
        "secret_file": (root / "secrets" / "gitea.token", f"{SECRET}-of-the-forge"),
        "key_of_another": (root / "secrets" / "reviewer.key", f"{SECRET}-of-the-reviewer"),
        "web_token": (data / "api.token", f"{SECRET}-of-the-web"),
        "flower": (data / "flower.password", f"{SECRET}-of-flower"),
        "other_run": (data / "runs" / "another" / "stdout.log", "what another agent said"),
    }
    for place, text in contents.values():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.write_text(text)
    return {name: str(place) for name, (place, _) in contents.items()}


def _configure(world: World, mode: Sandbox, targets: Mapping[str, str]) -> None:
    """Analysis is done by the agent that attacks; the reviewer has a key of its own."""
    config = world.repository.parent / "orchestrator.yml"
    spec = {
        "runtime": "command",
        "sandbox": str(mode),
        "command": [sys.executable, str(ATTACK)],
        "sandbox_readable": [str(ATTACK.parent)],
        "environment": {"TARGETS": json.dumps(targets)},
    }
    text = re.sub(r" +analysis: .*\n", lambda _: f"      analysis: {json.dumps(spec)}\n", config.read_text())
    key = json.dumps({"REVIEWER_KEY": targets["key_of_another"]})
    config.write_text(text.replace("review: {", f"review: {{credentials: {key}, "))


@contextmanager
def _served(world: World) -> Iterator[str]:
    """The web, with the token that the data directory holds."""
    token = Secret(f"{SECRET}-of-the-web")
    broker = "redis+socket:///nowhere/valkey.sock?virtual_host=0"
    settings = replace(world.settings, api_token=token, broker_url=broker)
    server = make_server("127.0.0.1", 0, create_app(settings, world.engine), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(20)


@contextmanager
def _broker_with_password(root: Path) -> Iterator[str]:
    """A Valkey that listens on loopback and asks for a password; its port."""
    conf = root / "valkey.conf"
    conf.write_text(f'port 0\nbind 127.0.0.1\nrequirepass {SECRET}\nsave ""\ndir "{root}"\n')
    # Port 0 means none to it, so one is taken that the kernel has just given away.
    with make_server("127.0.0.1", 0, lambda *_: []) as taken:
        port = taken.server_port
    child = subprocess.Popen([str(valkey_binary()), str(conf), "--port", str(port)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        while "Ready to accept connections" not in (line := child.stdout.readline()):
            assert line, f"no Valkey on port {port}"
        yield str(port)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@contextmanager
def _worker() -> Iterator[str]:
    """A process that has a secret in its environment and does at its start what a worker does; its pid."""
    environment = {**os.environ, "ORCH_GITEA_TOKEN": SECRET}
    with subprocess.Popen(
        [sys.executable, str(WORKER)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert first_line(child) == "up"
        yield str(child.pid)
        child.kill()


def _end_runs(world: World) -> None:
    for [run_id] in world.rows("SELECT run_id FROM agent_runs"):
        world.engine.agents.stop(world.engine.runs_dir / run_id, 0.1)


def _what_the_next_run_finds(world: World, told: Path) -> list[str]:
    """Files that configure an agent's CLI, in the worktree of the run after the attack."""
    operator.retry(world.engine, "DEMO-1", "ann")
    world.run_until(told.exists, timeout_s=RUN_S)
    found: list[str] = json.loads(told.read_text())
    return found


def attacked(
    mode: Sandbox, root: Path, database_url: str, postgres: Places, valkey: Places, stack: ExitStack
) -> Attacked:
    """One real run of the agent in a real project, from the work item to its judged end."""
    root.chmod(0o700)
    files = _files(root)
    world = make_world(
        root, database_url, ORCH_GITEA_URL="http://127.0.0.1:1", ORCH_GITEA_TOKEN_FILE=files["secret_file"]
    )
    stack.callback(world.engine.store.engine.dispose)
    create_repository(world.repository, "main", lambda: {"PATH": os.environ["PATH"]})
    (root / "forge").mkdir()
    forge = stack.enter_context(gitea_world(root / "forge"))
    forge.double.let_in(f"{SECRET}-of-the-forge", replace(forge.double.forge.people["t0ken-of-the-orchestrator"]))
    forge.commit("orch/one")
    forge.forge.open_pull_request(head_branch="orch/one", base_branch="main", title="One", body="")
    other = world.engine.project("DEMO").workspaces.prepare("orch/DEMO-2") / "code.py"
    other.write_text("x = 1\n")
    sprung = root / "sprung"
    targets = {
        **files,
        "worker": stack.enter_context(_worker()),
        "runs": str(world.engine.runs_dir),
        "data": str(world.settings.data_dir),
        "configuration": str(root / "orchestrator.yml"),
        "other_worktree": str(other),
        "database_file": str(postgres.postgres_data / "PG_VERSION"),
        "database_socket": str(postgres.postgres_socket_dir / ".s.PGSQL.5432"),
        "broker_file": str(valkey.valkey_data / "valkey.conf"),
        "broker_socket": str(valkey.valkey_socket),
        "broker_port": stack.enter_context(_broker_with_password(root)),
        "elsewhere": str(root / "elsewhere"),
        "repository": str(world.repository),
        "forge": forge.double.url,
        "forge_git": forge.double.clone_url,
        "web": stack.enter_context(_served(world)),
        "sprung": str(sprung),
    }
    _configure(world, mode, targets)
    base, forge_base = world.git("rev-parse", "main"), str(forge.git.tip("main"))
    intake.add_item(world.engine, "DEMO", "Say hello", author="ann", key="DEMO-1")
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM jobs WHERE settled_at IS NOT NULL")), timeout_s=RUN_S)
    [[run_id]] = world.rows("SELECT run_id FROM agent_runs")
    stack.callback(_end_runs, world)
    [[branch]] = world.rows("SELECT branch FROM tasks")
    worktree = world.engine.project("DEMO").workspaces.path_of(branch)
    got = json.loads((worktree / "results.json").read_text())
    workspaces, head = world.engine.project("DEMO").workspaces, world.rows("SELECT head_sha FROM tasks")[0][0]
    # What our git does with a worktree, with all that was planted still in it; a run's end and its next start do more.
    workspaces.commit_all(branch, "what is left")
    with workspaces.checkout(head):
        pass
    later = _what_the_next_run_finds(world, worktree / "found.json")
    return Attacked(mode, got, world, world.engine.runs_dir / run_id, forge, base, forge_base, sprung, later)
