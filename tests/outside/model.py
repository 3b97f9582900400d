"""The outside as a model: forge, tracker, deploy target, image builder and people, one place a project.

Every change is one line of JSON in an append-only log, written in the order in which things landed. Nothing here knows
of leases, ledgers or stages: it is what the world would be.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from orchestrator.domain.deploy_repair import CommandState
from orchestrator.ports import Notification, Observation
from tests.fakes.forge import FakeForge
from tests.fakes.repository import Remote
from tests.fakes.tracker import FakeTracker
from tests.fakes.wire import Wire
from tests.fakes.workspaces import FakeWorkspaces

T = TypeVar("T")
FILES: Final = {"Dockerfile": b"FROM scratch", "requirements/base.txt": b"flask", "app.py": b"1"}


class Landings(list[tuple[str, str]]):
    """What the fakes append to: each entry is also a line of the log on disk, before the next can land."""

    def __init__(self, log: int, project: str, detail: Callable[[str, str], Mapping[str, object]]) -> None:
        super().__init__()
        self._log, self._project, self._detail = log, project, detail

    def append(self, landed: tuple[str, str]) -> None:
        kind, key = landed
        line = {"at": time.time(), "project": self._project, "kind": kind, "key": key, **self._detail(kind, key)}
        os.write(self._log, json.dumps(line).encode() + b"\n")
        super().append(landed)


class Mirror(FakeWorkspaces):
    """The node's own git: it outlives every process of ours, as a mirror on disk does."""

    def changed_files(self, base: str, head: str) -> Sequence[str]:
        before, after = self._need(base).files, self._need(head).files
        return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))

    def diff(self, base: str, head: str, paths: Sequence[str] = ()) -> str:
        return ""


@dataclass
class Builder:
    """Builds images: one of the same tag is the same image, however often it is built."""

    wire: Wire
    built: list[str] = field(default_factory=list)

    def build(self, tag: str) -> None:
        self.built.append(tag)
        self.wire.landed.append(("build", tag))


@dataclass
class DeployTarget:
    """Launches ask for a deployer; what answers in an environment is what its command last put there."""

    wire: Wire
    environments: Path
    launched: list[int] = field(default_factory=list)

    def launch(self, deployment_id: int) -> None:
        self.launched.append(deployment_id)
        self.wire.landed.append(("launch", str(deployment_id)))

    def observe(self, environment: str) -> Observation:
        file = self.environments / environment
        version = file.read_text().strip() if file.exists() else None
        return Observation(version, version is not None, "as the environment says")

    def command_state(self, deployment_id: int) -> CommandState:
        return CommandState.UNKNOWN

    def end_command(self, deployment_id: int) -> bool:
        return True

    def take_launched(self) -> list[int]:
        taken, self.launched = self.launched, []
        return taken


@dataclass
class People:
    """Whoever reads notifications: telling them twice is two messages."""

    wire: Wire

    def send(self, notification: Notification) -> None:
        self.wire.landed.append(("send", notification.title))


class Place:
    """One project's outside. ``branch`` is pushed by an agent: one commit on top of the base."""

    def __init__(self, project: str, log: int, folder: Path) -> None:
        self.wire = Wire(landed=Landings(log, project, self._detail))
        self.remote = Remote()
        self.remote.commit("main", files=FILES)
        self.forge = FakeForge(self.remote, self.wire)
        self.workspaces = Mirror(self.remote, self.wire)
        self.tracker = FakeTracker(self.wire)
        self.builder = Builder(self.wire)
        self.people = People(self.wire)
        folder.mkdir(parents=True, exist_ok=True)
        self.deployer = DeployTarget(self.wire, folder)
        self.setup = Setup(self)

    def _detail(self, kind: str, key: str) -> Mapping[str, object]:
        if kind != "merge_pull_request":
            return {}
        commit = self.remote.commits[key]
        return {"tree": commit.tree, "parents": list(commit.parents)}


@dataclass
class Setup:
    """What people and agents do outside, for a test to arrange."""

    place: Place

    def push(self, branch: str, files: Mapping[str, bytes]) -> str:
        return self.place.remote.commit(branch, files=files)

    def ask_for(self, key: str) -> None:
        self.place.tracker.add(key)

    def open_request(self, branch: str, body: str) -> int:
        return self.place.forge.open_pull_request(head_branch=branch, base_branch="main", title="t", body=body).number

    def worktree(self, branch: str) -> None:
        self.place.workspaces.prepare(branch)

    def state_of(self, key: str) -> str:
        return str(self.place.tracker.work_item(key).state)

    def has_branch(self, branch: str) -> bool:
        return branch in self.place.remote.branches

    def has_worktree(self, branch: str) -> bool:
        return self.place.workspaces.exists(branch)
