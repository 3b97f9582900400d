"""Where a demo lives: its directories, ports, settings and configuration. Nothing of the user's own set-up gets in."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.demo.story import PROJECT
from orchestrator.domain.errors import UsageError
from orchestrator.domain.stages import AGENT_STAGES
from orchestrator.settings import Settings, load_settings

AGENT: Final = Path(__file__).parent / "agent.py"
MARKER: Final = "ORCH_DEMO_WORLD"
"""In the environment of agents: by it whatever a demo left behind is found, whoever started it."""
NODE: Final = "demo"
# Three at once between development and done: two share the cores, one waits for something.
CONCURRENCY: Final = 3

TIMINGS: Final[Mapping[str, str]] = {
    # Seconds, not the defaults: the story is told in a minute, so what waits for a sweep waits for one second.
    "ORCH_REAPER_INTERVAL_S": "2",
    "ORCH_RECONCILER_INTERVAL_S": "1",
    "ORCH_FINALIZER_INTERVAL_S": "1",
    "ORCH_INBOX_INTERVAL_S": "2",
    "ORCH_REAPER_FINALIZE_GRACE_S": "5",
    "ORCH_REAPER_MAX_RUNNING_S": "240",
    "ORCH_STOP_GRACE_S": "1",
}


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on loopback: the board, Flower, and the two environments of the sample service."""

    web: int
    flower: int
    staging: int
    production: int


@dataclass(frozen=True, slots=True)
class Place:
    """The directories of one demo. ``world`` is what stands outside of the orchestrator: repository, images, services.

    ``environment`` is for git and other programs that the demo itself runs.
    """

    data_dir: Path
    ports: Ports
    environment: Mapping[str, str]

    @property
    def world(self) -> Path:
        return self.data_dir / "world"

    @property
    def repository(self) -> Path:
        return self.world / "shop.git"

    @property
    def images(self) -> Path:
        return self.world / "images"

    @property
    def services(self) -> Path:
        return self.world / "services"

    @property
    def deploy_log(self) -> Path:
        return self.world / "deploys.jsonl"

    @property
    def cues(self) -> Path:
        return self.world / "cues"

    @property
    def config(self) -> Path:
        return self.data_dir / "orchestrator.yml"

    @property
    def notifications(self) -> Path:
        return self.data_dir / "notifications.jsonl"

    def health_url(self, environment: str) -> str:
        port = self.ports.staging if environment == "staging" else self.ports.production
        return f"http://127.0.0.1:{port}/health"

    def deploy_command(self, environment: str) -> list[str]:
        """The words that bring a version up; run in a checkout of it."""
        port = self.ports.staging if environment == "staging" else self.ports.production
        return [sys.executable, "-B", "deploy/bring_up.py", str(port), str(self.services), str(self.deploy_log)]


def make_place(data_dir: Path, port: int | None) -> Place:
    """Choose free ports and make the directories. Raises UsageError when ``data_dir`` holds anything already."""
    if data_dir.exists() and any(data_dir.iterdir()):
        raise UsageError(f"{data_dir} is not empty", remedy="name a new directory: the demo counts all that is in it")
    web, *others = free_ports(3 if port else 4)
    chosen = Ports(port, web, *others) if port else Ports(web, *others)
    place = Place(data_dir, chosen, load_settings().basic_environment())
    for folder in (place.data_dir, place.world, place.images, place.services, place.cues):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def free_ports(count: int) -> list[int]:
    """Ports that are free now. All are held until the last is known, so that no two are the same."""
    held = []
    try:
        for _ in range(count):
            one = socket.socket()
            held.append(one)
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def demo_settings(place: Place, more: Mapping[str, str] | None = None) -> Settings:
    """Settings of the demo's fleet: embedded stores, short timings, and no token, so that the board just opens
    (without one, only loopback is served).

    ``ORCH_*`` of the user's environment stay outside: a demo must not touch his database or broker. ``more`` are the
    settings of what stands in for other systems.
    """
    mine = load_settings()
    return load_settings(
        {
            **place.environment,
            **TIMINGS,
            "ORCH_DATA_DIR": str(place.data_dir),
            "ORCH_CONFIG": str(place.config),
            "ORCH_NODE": NODE,
            "ORCH_PORT": str(place.ports.web),
            "ORCH_FLOWER_PORT": str(place.ports.flower),
            "ORCH_LOG_LEVEL": mine.log_level,
            "ORCH_FAILPOINTS": mine.failpoints,
            **(more or {}),
        }
    )


def write_operator_config(place: Place, more: Sequence[str] = (), *, repository: str = "") -> None:
    """``orchestrator.yml``: one project, the scripted agent in each stage; ``more`` are its further lines. The
    repository is reached at ``repository``, by default at its path. JSON words are YAML words."""
    agents = "\n".join(f"      {stage}: {json.dumps(_agent(place, stage))}" for stage in AGENT_STAGES)
    lines = "".join(f"    {line}\n" for line in more)
    place.config.write_text(
        f"""\
projects:
  - key: {PROJECT}
    repository: {json.dumps(repository or str(place.repository))}
    concurrency: {CONCURRENCY}
    on_deploy_failure: fix-forward
    limits: {{runs_per_project: 8}}
{lines}    agents:
{agents}
"""
    )


def _agent(place: Place, stage: str) -> dict[str, object]:
    return {
        "command": [sys.executable, "-I", str(AGENT), str(stage), str(place.cues)],
        "wall_clock_s": 300,
        "silence_s": 300,
        "environment": {MARKER: str(place.world)},
        # The scripted agents note their cues outside of the worktree, where a sandbox lets nobody write.
        "sandbox": "off",
    }
