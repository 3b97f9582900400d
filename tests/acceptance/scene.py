"""What the modules of this folder share: a world on real parts, real processes that enter it, and what is seen."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flask.testing import FlaskClient

from orchestrator.adapters import procfs
from orchestrator.bootstrap import build_engine
from orchestrator.domain.stages import Actor
from orchestrator.engine import deliveries
from orchestrator.engine.drive import drive
from orchestrator.secret import Secret
from tests.engine.real_engine import STAGES, HeldNudges, World, make_world
from tests.engine.staged import Drives
from tests.fixtures_deploys import free_port
from web import create_app
from web.parts import Parts, install
from web.webhooks import SENDERS

TOKEN, SECRET = "a-token-of-tests", "a-webhook-secret"
MERGEABLE = "gate.check_branch_mergeable"
SERVICE = Path(__file__).parents[1] / "deployed_service.py"
"""A change that has this file cannot be brought up anywhere."""
BAD = "bad.txt"


class Nudges(HeldNudges):
    """Held messages, with the one that only the web sends."""

    def process_deliveries(self, delivery_ids: Sequence[int]) -> bool:
        self.held += [("delivery", (one,)) for one in delivery_ids]
        return True


def world_of(tmp_path: Path, database_url: str, drives: Drives, test: str = "true", **settings: str) -> World:
    """A world in which deploy-staging has an agent too, so that its end waits for a finalizer. ``test`` is a line of
    shell."""
    command = json.dumps(["sh", "-c", test])
    return _made(tmp_path, database_url, drives, f"test: {command}\n", settings)


def deploying_world(tmp_path: Path, database_url: str, drives: Drives, **settings: str) -> World:
    """A world whose production is a real service on loopback, brought up by a detached deployer. A change that has
    the file ``BAD`` fails to come up. ``hold`` in the folder ``state`` keeps a deploy going."""
    state, port = tmp_path / "state", free_port()
    state.mkdir()
    start = f"test ! -e {BAD} && exec {sys.executable} -I -S {SERVICE} start {port} {state}"
    deploy = json.dumps({"command": ["sh", "-c", start], "health_url": f"http://127.0.0.1:{port}/health"})
    yml = f'test: ["true"]\ndeploys: {{"production": {deploy}}}\n'
    return _made(tmp_path, database_url, drives, yml, settings)


def _made(tmp_path: Path, database_url: str, drives: Drives, yml: str, settings: Mapping[str, str]) -> World:
    braced = yml.replace("{", "{{").replace("}", "}}")
    world = make_world(tmp_path, database_url, braced, stages=(*STAGES, "deploy-staging"), **settings)
    nudges = Nudges()
    world.engine = replace(world.engine, nudges=nudges)
    world.nudges = nudges
    drives.environment = world.environment
    return world


def end_services(tmp_path: Path) -> None:
    """End what a test left running: the service that a deployer brought up, by its pid and its command line, and a
    deployer that would insist on telling a database that is gone."""
    for file in (tmp_path / "state").glob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            if str(tmp_path).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
    marker = f"ORCH_DATA_DIR={tmp_path / 'data'}".encode()
    ours = [one for one in procfs.processes() if procfs.carries(one.pid, marker)]
    assert procfs.kill_and_wait(ours, timeout_s=30) == []


def with_engine(world: World, **settings: str) -> World:
    """The same rows and repository under other settings, as another process start has them."""
    from orchestrator.settings import load_settings

    environment = {**world.environment, **settings}
    nudges = Nudges()
    loaded = load_settings(environment)
    return World(build_engine(loaded, nudges, pool_size=4), nudges, world.repository, loaded, environment)


# --- what is seen ----------------------------------------------------------------------------------------


def merges(world: World) -> int:
    return len(world.git("log", "--format=%H", "--grep=Orchestrator-Effect", "main").split())


def count(world: World, name: str, label: str | None = None) -> int:
    rows = world.rows("SELECT value, label FROM counters WHERE name = %s", name)
    return sum(int(value) for value, found in rows if label in (None, found))


def effects(world: World) -> list[tuple[object, ...]]:
    """Every ledger row: its kind, how it ended, how often it was sent."""
    return world.rows("SELECT kind, status, sends FROM effects ORDER BY id")


def path_of(world: World, work_item: str = "DEMO-1") -> list[str]:
    """The stages that were entered, in order."""
    statement = """SELECT detail->>'to' FROM events WHERE kind = 'stage.committed' AND work_item = %s ORDER BY id"""
    return [str(row[0]) for row in world.rows(statement, work_item)]


def driven(world: World, task_id: int, actor: Actor = Actor.MONITOR) -> str:
    """How one drive of this process ends."""
    return drive(world.engine, task_id, actor).kind


# --- the web ---------------------------------------------------------------------------------------------


@dataclass
class Web:
    """The real web app on a world. Its project is said to live in ``tracker`` and ``forge`` of other systems, whose
    deliveries it takes; what is read again is the built-in ones."""

    world: World
    client: FlaskClient
    sent: int = field(default=0)

    @classmethod
    def of(cls, world: World, *, tracker: str = "plane", forge: str = "gitea") -> Web:
        ports = world.engine.project("DEMO")
        named = replace(ports, config=replace(ports.config, tracker=tracker, forge=forge))
        world.engine = replace(world.engine, project=lambda key: named)
        secret = Secret(SECRET)
        settings = replace(
            world.settings, api_token=Secret(TOKEN), plane_webhook_secret=secret, gitea_webhook_secret=secret
        )
        app = create_app(settings, world.engine)
        assert isinstance(world.nudges, Nudges)
        install(app, Parts(settings, world.nudges, world.engine))
        return cls(world, app.test_client())

    def deliver(self, source: str, event: str, body: Mapping[str, object]) -> None:
        """One signed delivery, kept and then processed as a worker does; nudges stay held."""
        self.sent += 1
        raw, sender = json.dumps({**body, "n": self.sent}).encode(), SENDERS[source]
        signature = hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
        headers = {
            sender.signature_header: sender.signature_prefix + signature,
            sender.delivery_header: f"delivery-{self.sent}",
            sender.event_header: event,
            "Content-Type": "application/json",
        }
        answer = self.client.post(f"/webhooks/{source}", data=raw, headers=headers)
        assert (answer.status_code, answer.json["duplicate"]) == (202, False), answer.text
        assert self.client.application.extensions["orchestrator"].later.settle(60), "nudges leave in the background"
        kept = [one for one in self.world.nudges.held if one[0] == "delivery"]
        for one in kept:
            self.world.nudges.held.remove(one)
            deliveries.process_delivery(self.world.engine, int(str(one[1][0])))
        assert self.world.rows("SELECT 1 FROM inbox WHERE processed_at IS NULL") == []

    def get(self, path: str) -> object:
        return self.client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).json

    def post(self, path: str) -> tuple[int, object]:
        answer = self.client.post(path, headers={"Authorization": f"Bearer {TOKEN}"})
        return answer.status_code, answer.json
