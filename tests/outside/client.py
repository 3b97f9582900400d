"""The ports of an actor, over the proxy. A cut, a time-out and a 5xx are all one thing to it: no usable answer."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from orchestrator.domain import errors
from orchestrator.domain.configuration import DeploySpec, ProjectConfig, RepositoryConfig
from orchestrator.domain.errors import TransientError
from orchestrator.ports import (
    CommandResult,
    Deployer,
    DeployRequest,
    Forge,
    Notification,
    Observation,
    ProjectPorts,
    RepositoryConfigs,
    Tracker,
    Workspaces,
)

_LENGTH = struct.Struct(">I")
TIMEOUT_S = 90.0
COVERAGE = "coverage.xml"
"""Where commands of the repository leave their report."""


@dataclass
class Connection:
    """One socket to the proxy, opened anew in each process and after each cut."""

    port: int
    _socket: socket.socket | None = None
    _owner: int = 0

    def call(self, project: str, port: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """Raises TransientError when no usable answer comes, and what the outside refuses with."""
        payload = pickle.dumps((project, port, method, args, kwargs))
        try:
            wire = self._open()
            wire.sendall(_LENGTH.pack(len(payload)) + payload)
            kind, value = pickle.loads(_exactly(wire, _LENGTH.unpack(_exactly(wire, _LENGTH.size))[0]))
        except (OSError, EOFError) as error:
            self.close()
            raise TransientError(f"{method}: no answer") from error
        if kind == "status":
            raise TransientError(f"{method}: {value}")
        if kind == "refused":
            raise getattr(errors, value[0])(value[1])
        return value

    def _open(self) -> socket.socket:
        if self._socket is None or self._owner != os.getpid():
            self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._owner = os.getpid()
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


_connections: dict[int, Connection] = {}


def connection_to(port: int) -> Connection:
    """This process's one connection to that proxy."""
    return _connections.setdefault(port, Connection(port))


def _exactly(wire: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = wire.recv(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts


_NOT_OFFERED = frozenset({"hint", "add_item", "set_state_if"})
"""What only some adapters have: here webhooks say nothing, and work items are not ours to add."""


@dataclass
class Remote:
    """A port whose every method is a request."""

    connection: Connection
    project: str
    port: str

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_") or method in _NOT_OFFERED:
            raise AttributeError(method)
        return lambda *args, **kwargs: self.connection.call(self.project, self.port, method, *args, **kwargs)


class RemoteWorkspaces(Remote):
    """As ``Remote``, but a checkout is a folder of this process."""

    @contextmanager
    def checkout(self, sha: str) -> Iterator[Path]:
        self.tree_of(sha)
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    def path_of(self, branch: str) -> Path:
        return Path("/nowhere") / branch


class RemoteDeployer(Remote):
    """Says to the deploy target what a detached deployer would be started for."""

    def launch(self, request: DeployRequest) -> None:
        self.connection.call(self.project, self.port, "launch", request.deployment_id)

    def observe(self, spec: DeploySpec) -> Observation:
        return cast("Observation", self.connection.call(self.project, self.port, "observe", spec.health_url))


@dataclass
class RemotePeople:
    """``ports.Notifier``."""

    connection: Connection
    project: str
    name: str = "people"

    def send(self, notification: Notification) -> None:
        self.connection.call(self.project, "people", "send", notification)


@dataclass
class RemoteBuilder:
    """``ports.ChildRunner``: tests pass and measure, images are built outside."""

    connection: Connection
    project: str

    def run(
        self, argv: Sequence[str], *, cwd: Path, timeout_s: float, environment: Mapping[str, str] | None = None
    ) -> CommandResult:
        if environment is not None and "ORCH_IMAGE_TAG" in environment:
            self.connection.call(self.project, "builder", "build", environment["ORCH_IMAGE_TAG"])
        (cwd / COVERAGE).write_text('<coverage line-rate="0.9"/>')
        return CommandResult(0, "ok", 0.0)


@dataclass(frozen=True)
class OneConfig:
    """``ports.RepositoryConfigs`` with one answer."""

    config: RepositoryConfig

    def at(self, base_sha: str) -> RepositoryConfig:
        return self.config


def ports_of(connection: Connection, config: ProjectConfig, repository: RepositoryConfig) -> ProjectPorts:
    """All ports of one project at the outside."""
    key = config.key
    return ProjectPorts(
        config=config,
        tracker=cast("Tracker", Remote(connection, key, "tracker")),
        forge=cast("Forge", Remote(connection, key, "forge")),
        workspaces=cast("Workspaces", RemoteWorkspaces(connection, key, "workspaces")),
        repository=cast("RepositoryConfigs", OneConfig(repository)),
        deployer=cast("Deployer", RemoteDeployer(connection, key, "deployer")),
    )


@dataclass
class Proxy:
    """What a test tells the proxy about one project's wire."""

    connection: Connection
    project: str
    _ask: Remote = field(init=False)

    def __post_init__(self) -> None:
        self._ask = Remote(self.connection, self.project, "proxy")

    def next_meets(self, trouble: str, method: str = "") -> None:
        """The next change (by ``method``) meets this trouble."""
        self._ask.rule(str(trouble), method)

    def wait_held(self, timeout_s: float = 60.0) -> bool:
        """Whether a request landed and its answer waits."""
        return bool(self._ask.wait_held(timeout_s))

    def let_go(self) -> None:
        self._ask.let_go()

    def calm(self) -> None:
        """No more troubles; whoever waits goes on."""
        self._ask.calm()

    def deliver(self) -> list[str]:
        """What was late lands now; what the outside refused of it."""
        return list(self._ask.deliver())

    def forget(self) -> None:
        with contextlib.suppress(TransientError):
            self._ask.forget(self.project)
