"""The engine of one actor or sweep: everything of ours is real, the outside is behind the proxy."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, ClassVar, Final, Self, cast

from orchestrator.adapters.host import this_host
from orchestrator.domain.configuration import (
    AgentSpec,
    DeploySpec,
    GateConfig,
    ImageRecipe,
    ProjectConfig,
    RepositoryConfig,
)
from orchestrator.domain.ownership import Owner
from orchestrator.domain.run_reports import RunReport
from orchestrator.domain.stages import Stage
from orchestrator.engine.context import Engine
from orchestrator.ports import Clock, Host, RunExit
from orchestrator.settings import Switches, Timings
from orchestrator.store.clock import DatabaseClock
from orchestrator.store.database import Store, connect
from tests.outside.client import COVERAGE, RemoteBuilder, RemotePeople, connection_to, ports_of

RECIPE: Final = ImageRecipe(files=("Dockerfile", "requirements/**"), command=("build",), timeout_s=60)
_DEPLOY: Final = """\
[ -e "$0/broken-$ORCH_SHA" ] && exit 1
printf '{"at": %s, "project": "%s", "kind": "deploy", "key": "%s:%s:%s"}\\n' \
"$(date +%s.%N)" "$(basename "$0")" "$ORCH_ENVIRONMENT" "$ORCH_DEPLOYMENT" "$ORCH_SHA" >> "$1"
printf %s "$ORCH_SHA" > "$0/$ORCH_ENVIRONMENT"
"""
"""A deploy command: it writes its landing into the outside's own log and changes what answers."""


@dataclass(frozen=True)
class Parts:
    """What an actor is built from, as plain values: they go to a forked process. ``stage``: where an agent works."""

    database_url: str
    port: int
    project: str
    folder: str
    log: str
    outside_folder: str
    boot_id: str = ""
    stage: str = ""
    staging: bool = False
    covered: bool = False
    max_running_s: float = 6 * 3600.0
    kills: bool = True

    @property
    def base(self) -> Path:
        return Path(self.folder)

    @property
    def node(self) -> str:
        return f"node-{self.project}"

    def as_plain(self) -> dict[str, object]:
        return asdict(self)


class _AnyDatetime(type):
    """A module that asks whether a value is a datetime gets the answer it would get on any clock."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


class NodeTime(datetime, metaclass=_AnyDatetime):
    """``datetime`` on a node whose wall clock is off by the seconds in a file of its cell."""

    file: ClassVar[Path | None] = None

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        shift = float(cls.file.read_text()) if cls.file is not None and cls.file.exists() else 0.0
        return super().now(tz) + timedelta(seconds=shift)


@dataclass
class PassingClock:
    """The product's own clock; ``ahead`` is the time that a test lets pass. Its sleeps let it pass, too."""

    clock: Clock
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return self.clock.now() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)
        time.sleep(min(seconds, 0.005))


def with_wall_clock_of(file: Path) -> None:
    """Every module of ours that reads the wall clock in this process sees that of the node."""
    NodeTime.file = file
    for name, module in list(sys.modules.items()):
        if name.startswith("orchestrator.") and getattr(module, "datetime", None) is datetime:
            module.datetime = NodeTime  # type: ignore[attr-defined]  # it was looked up just now


def with_the_real_wall_clock() -> None:
    """Take back ``with_wall_clock_of``: what else this process tests has the machine's own time."""
    NodeTime.file = None
    for name, module in list(sys.modules.items()):
        if name.startswith("orchestrator.") and getattr(module, "datetime", None) is NodeTime:
            module.datetime = datetime  # type: ignore[attr-defined]  # it was looked up just now


@dataclass
class FileNudges:
    """``ports.Nudges`` on a file: a broker whose data a test can double, reorder and lose."""

    file: Path

    def _send(self, name: str, *arguments: object) -> None:
        line = json.dumps([name, *arguments]).encode() + b"\n"
        handle = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)

    def drive(self, task_id: int, work_item: str, actor: str) -> None:
        self._send("drive", task_id, str(actor))

    def launch_agent(self, node: str, job_id: int, work_item: str) -> None:
        self._send("launch", job_id)

    def stop_agent(self, node: str, job_id: int, work_item: str) -> None:
        self._send("stop", job_id)

    def finish_job(self, node: str, job_id: int, work_item: str) -> None:
        self._send("finish", job_id)

    def finalize_deploys(self) -> None:
        self._send("finalize")

    def take(self) -> list[list[Any]]:
        """All messages that wait, taken off."""
        if not self.file.exists():
            return []
        lines = self.file.read_text().splitlines()
        self.file.unlink()
        return [json.loads(line) for line in lines]


@dataclass
class NapAgents:
    """``ports.AgentRuns`` whose agents are real processes that only sleep; their identity is in the run directory."""

    host: Host

    def start(self, request: object) -> Owner:
        raise NotImplementedError("no cell starts an agent")

    def owner(self, run_dir: Path) -> Owner | None:
        file = run_dir / "owner"
        return Owner(**json.loads(file.read_text())) if file.exists() else None

    def exit_record(self, run_dir: Path) -> RunExit | None:
        return None

    def report(self, run_dir: Path, runtime: str) -> RunReport:
        raise NotImplementedError("no run of a cell is ever read")

    def so_far(self, run_dir: Path, runtime: str) -> RunReport:
        return RunReport(ended=None)

    def lines(self, run_dir: Path, runtime: str, at: int, *, raw: bool = False) -> tuple[Sequence[str], int]:
        return (), at

    def stop(self, run_dir: Path, grace_s: float, *, over_budget: str = "") -> Sequence[str]:
        owner = self.owner(run_dir)
        if owner is None:
            return ()
        return (f"{owner} is dead",) if self.host.kill(owner, 10.0) else (f"{owner} lives",)

    def output_tail(self, run_dir: Path, limit: int) -> str:
        return ""

    def acknowledged(self, age_s: float) -> Sequence[Path]:
        return ()

    def forget(self, run_dir: Path) -> None:
        raise NotImplementedError("no run of a cell is old")

    def finished(self) -> Iterator[Path]:
        return iter(())

    def acknowledge(self, run_dir: Path, *, keep_home: bool = False) -> None: ...


@dataclass
class StubbornHost:
    """A host that may not kill: Tier 3 then frees what still lives."""

    host: Host
    node: str = field(init=False)

    def __post_init__(self) -> None:
        self.node = self.host.node

    def kill(self, owner: Owner, timeout_s: float) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)


def build(parts: Parts, store: Store | None = None) -> Engine:
    """An engine of this process. ``store`` is used where the process has one for this database."""
    connection = connection_to(parts.port)
    ports = ports_of(connection, project_config(parts), repository_config(parts))
    host: Any = this_host(parts.node)
    if parts.boot_id:
        host.boot_id = parts.boot_id
    host = host if parts.kills else StubbornHost(host)
    nothing = cast("Any", None)
    found = store or connect(parts.database_url, pool_size=2)
    with_wall_clock_of(parts.base / "clock")
    return Engine(
        store=found,
        host=host,
        clock=PassingClock(DatabaseClock(found)),
        nudges=FileNudges(parts.base / "broker"),
        notifiers=(RemotePeople(connection, parts.project),),
        project=lambda key: ports,
        project_keys=lambda: (parts.project,),
        agents=NapAgents(host),
        clis={},
        verdicts=nothing,
        prompts=nothing,
        children=lambda announce: RemoteBuilder(connection, parts.project),
        switches=Switches(),
        timings=replace(Timings(), reaper_max_running_s=parts.max_running_s),
        runs_dir=parts.base / "runs",
    )


def project_config(parts: Parts) -> ProjectConfig:
    """No agent works anywhere but at ``parts.stage``: a task that comes elsewhere waits there and says so."""
    agents = {Stage(parts.stage): AgentSpec(command=("agent",))} if parts.stage else {}
    return ProjectConfig(key=parts.project, repository="memory:", agents=agents)


def repository_config(parts: Parts) -> RepositoryConfig:
    """An image recipe and real deploy commands; tests that measure where the parts say so."""
    environments = ("staging", "production") if parts.staging else ("production",)
    deploys = {one: deploy_spec(parts, one) for one in environments}
    if not parts.covered:
        return RepositoryConfig("digest", image=RECIPE, deploys=deploys)
    gates = GateConfig(coverage_report=COVERAGE)
    return RepositoryConfig("digest", test=("test",), gates=gates, image=RECIPE, deploys=deploys)


def deploy_spec(parts: Parts, environment: str) -> DeploySpec:
    folder = str(Path(parts.outside_folder) / parts.project)
    return DeploySpec(
        command=("/bin/sh", "-c", _DEPLOY, folder, parts.log),
        health_url=environment,
        timeout_s=30,
        health_timeout_s=0,
    )


def nap(seconds: int = 300) -> int:
    """Fork a process that only sleeps; its pid."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(seconds)
        signal.pause()
        os._exit(0)
    return pid
