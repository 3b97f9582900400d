"""The only place that builds adapters and the store, from settings and the operator's configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, TypedDict, TypeVar

from orchestrator.adapters import procfs, verdict_files
from orchestrator.adapters.agent_runs import LocalAgentRuns
from orchestrator.adapters.agents import built_in_clis, prompts
from orchestrator.adapters.agents.sandbox import Sandboxes
from orchestrator.adapters.celery_nudges import CeleryNudges, producer
from orchestrator.adapters.children import LeasedChildren
from orchestrator.adapters.deployers.by_driver import deployers_here
from orchestrator.adapters.forges import gitea_deliveries
from orchestrator.adapters.forges.addresses import Address, address_of
from orchestrator.adapters.forges.gitea import GiteaForge
from orchestrator.adapters.forges.gitea_api import GiteaApi
from orchestrator.adapters.forges.gitea_setup import GiteaSetup
from orchestrator.adapters.forges.github import GithubForge
from orchestrator.adapters.forges.github_api import GithubApi
from orchestrator.adapters.forges.github_setup import GithubSetup
from orchestrator.adapters.forges.local import LocalForge
from orchestrator.adapters.git.workspaces import GitWorkspaces
from orchestrator.adapters.host import LinuxHost
from orchestrator.adapters.notifiers.log import LogNotifier
from orchestrator.adapters.notifiers.telegram import TelegramNotifier
from orchestrator.adapters.trackers.local import LocalTracker
from orchestrator.adapters.trackers.plane import PlaneClient, PlaneTracker
from orchestrator.adapters.trackers.plane.setup import PlaneSetup
from orchestrator.domain.configuration import OperatorConfig, ProjectConfig
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.ownership import ChildGroup, Owner
from orchestrator.engine.context import Engine
from orchestrator.ports import (
    AgentCli,
    ChildRunner,
    ChildRunners,
    Deployer,
    Forge,
    ForgeSetup,
    Host,
    Notifier,
    Nudges,
    ProjectPorts,
    Tracker,
    TrackerSetup,
)
from orchestrator.project_config import GitRepositoryConfigs, LastGood, operator_config_of_fleet
from orchestrator.secret import Secret
from orchestrator.settings import Settings
from orchestrator.store import nodes
from orchestrator.store.clock import DatabaseClock
from orchestrator.store.database import Store, connect, connect_for_single_statements

T = TypeVar("T")
_PLUGINS: Final = "orchestrator.{}"
"""Entry-point groups by which others add adapters: orchestrator.trackers, .forges, .agents, .notifiers."""


def build_store(settings: Settings, *, pool_size: int = 1) -> Store:
    """The store of these settings. Raises ConfigurationError when no database is named."""
    return connect(_database_url(settings), pool_size=pool_size)


def build_intake_store(settings: Settings, *, pool_size: int) -> Store:
    """The same for single statements, each committed by itself. Raises ConfigurationError likewise."""
    return connect_for_single_statements(_database_url(settings), pool_size=pool_size)


def _database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise ConfigurationError(
            "ORCH_DATABASE_URL: is not set", remedy="set it, or let `orch up` start the embedded database"
        )
    return settings.database_url


def build_nudges(settings: Settings) -> CeleryNudges:
    """Messages to the workers. Raises ConfigurationError when no broker is named."""
    if settings.broker_url is None:
        raise ConfigurationError(
            "ORCH_BROKER_URL: is not set", remedy="set it, or let `orch up` start the embedded broker"
        )
    return CeleryNudges(producer(settings.broker_url))


def build_host(settings: Settings, store: Store) -> LinuxHost:
    """This node, with the nodes table as its knowledge of other nodes."""

    def lost(owner: Owner) -> bool:
        with store.transaction() as connection:
            return nodes.is_lost(connection, owner)

    return LinuxHost(settings.node, lost)


def hide_this_process() -> None:
    """Keep environment and memory of this process, with its secrets, from agents of the same user."""
    procfs.hide_this_process()


def build_engine(settings: Settings, nudges: Nudges, *, pool_size: int = 1) -> Engine:
    """Everything that a pass may need, for this process and its forked children."""
    store = build_store(settings, pool_size=pool_size)
    host = build_host(settings, store)
    configured = operator_config_of_fleet(settings.config_path)
    clis: dict[str, AgentCli] = {**built_in_clis(), **_plugins("agents")}
    projects = Projects(settings, store, host, configured)
    return Engine(
        store=store,
        host=host,
        clock=DatabaseClock(store),
        nudges=nudges,
        notifiers=tuple(build_notifier(settings, name) for name in _operator(configured).notifications.notifiers),
        project=projects.ports,
        project_keys=projects.keys,
        agents=build_agent_runs(settings, host, clis, configured),
        clis=clis,
        verdicts=verdict_files,
        prompts=prompts,
        children=_children(settings, host),
        switches=settings.switches,
        timings=settings.timings,
        runs_dir=runs_dir(settings),
    )


def runs_dir(settings: Settings) -> Path:
    """Where agent runs of this node keep their files."""
    return settings.data_dir / "runs"


def build_agent_runs(
    settings: Settings, host: Host, clis: dict[str, AgentCli], configured: LastGood[OperatorConfig]
) -> LocalAgentRuns:
    """Agent runs of this node; agents get the PATH of this installation and nothing else of its environment."""
    basic = settings.basic_environment()
    runs_dir(settings).mkdir(mode=0o700, parents=True, exist_ok=True)
    return LocalAgentRuns(
        runs_dir(settings),
        host=host,
        clis=clis,
        search_path=basic.get("PATH", "/usr/bin:/bin"),
        sandboxes=Sandboxes((settings.data_dir,), lambda: _not_for_agents(settings, configured)),
    )


def _not_for_agents(settings: Settings, configured: LastGood[OperatorConfig]) -> Iterator[Path]:
    """Files of secrets, the keys of all agents, and the configuration that names them."""
    yield from (*settings.secret_files(), settings.config_path)
    specs = (spec for project in _operator(configured).projects for spec in project.agents.values())
    yield from (Path(file).expanduser() for spec in specs for file in spec.credentials.values())


def _children(settings: Settings, host: Host) -> ChildRunners:
    environment = settings.basic_environment()

    def made(announce: Callable[[ChildGroup | None], bool]) -> ChildRunner:
        return LeasedChildren(host, announce, environment)

    return made


def _operator(configured: LastGood[OperatorConfig]) -> OperatorConfig:
    config, _ = configured.current()
    return config


@dataclass(slots=True)
class Projects:
    """The ports of each configured project, built when first asked for and again when its configuration changes.

    A bad edit of ``orchestrator.yml`` keeps the last good one.
    """

    settings: Settings
    store: Store
    host: Host
    configured: LastGood[OperatorConfig]
    built: dict[str, ProjectPorts] = field(default_factory=dict)

    def keys(self) -> tuple[str, ...]:
        """Keys of the configured projects."""
        return tuple(one.key for one in _operator(self.configured).projects)

    def ports(self, key: str) -> ProjectPorts:
        """Raises ConfigurationError for a project that no configuration names."""
        config = _operator(self.configured).project(key)
        if config is None:
            known = ", ".join(self.keys()) or "none"
            raise ConfigurationError(
                f"{self.settings.config_path}: project {key} is not configured",
                remedy=f"add it, or stop its work items (`orch init` writes a commented file); configured: {known}",
            )
        found = self.built.get(key)
        if found is None or found.config != config:
            found = self.built[key] = self._build(config)
        return found

    def _build(self, config: ProjectConfig) -> ProjectPorts:
        forge = build_forge(self.settings, self.store, config)
        workspaces = GitWorkspaces(
            self.settings.data_dir / "git",
            config.key,
            forge.remote_url(),
            config.base_branch,
            lambda: {**self.settings.basic_environment(), **forge.git_environment()},
        )
        return ProjectPorts(
            config=config,
            tracker=build_tracker(self.settings, self.store, config),
            forge=forge,
            workspaces=workspaces,
            repository=GitRepositoryConfigs(workspaces, config.key),
            deployer=build_deployer(self.settings, self.host),
        )


def build_deployer(settings: Settings, host: Host) -> Deployer:
    """The deploy drivers of this node."""
    return deployers_here(settings.data_dir, host, settings.process_environment())


def build_tracker(settings: Settings, store: Store, config: ProjectConfig) -> Tracker:
    """The tracker that ``config.tracker`` names. Raises ConfigurationError for one that does not exist."""
    if config.tracker == "local":
        return LocalTracker(store, config.key)
    if config.tracker == "plane":
        return PlaneTracker(build_plane_client(settings, config), config)
    made = _plugin("trackers", config.tracker)(settings, store, config)
    assert isinstance(made, object)
    return made  # type: ignore[return-value]  # a plugin is trusted to keep the port's contract


def build_plane_client(settings: Settings, config: ProjectConfig) -> PlaneClient:
    """The client of the project's workspace. Raises ConfigurationError when its settings are missing."""
    if settings.plane_url is None or settings.plane_api_key is None:
        raise ConfigurationError(
            f"project {config.key}: tracker plane needs ORCH_PLANE_URL and ORCH_PLANE_API_KEY", remedy="set both"
        )
    return PlaneClient(settings.plane_url, settings.plane_api_key, config.plane.workspace)


def build_forge(settings: Settings, store: Store, config: ProjectConfig) -> Forge:
    """The forge that ``config.forge`` names. Raises ConfigurationError for one that does not exist."""
    if config.forge == "local":
        return LocalForge(store, config.key, Path(config.repository), config.base_branch, settings.basic_environment)
    if config.forge == "gitea":
        return GiteaForge(*_gitea(settings, config), **_git_of(settings, config))
    if config.forge == "github":
        return GithubForge(*_github(settings, config), **_git_of(settings, config))
    return _plugin("forges", config.forge)(settings, store, config)  # type: ignore[return-value]  # as above


def build_tracker_setup(settings: Settings, config: ProjectConfig) -> TrackerSetup | None:
    """What connects the project's tracker; None for one that needs no connecting. Raises ConfigurationError."""
    if config.tracker != "plane":
        return None
    return PlaneSetup(
        build_plane_client(settings, config),
        config.key,
        configured=config.plane.states,
        hook_secret=settings.plane_webhook_secret,
    )


def build_forge_setup(settings: Settings, config: ProjectConfig, admin: Secret | None = None) -> ForgeSetup | None:
    """What connects the project's repository; None for a forge that needs no connecting.

    ``admin``: an administrator's token for hooks and settings, where the orchestrator's own should not have the right.
    Raises ConfigurationError.
    """
    if config.forge == "gitea":
        address, token = _gitea(settings, config)
        return GiteaSetup(
            GiteaApi(address, token),
            base_branch=config.base_branch,
            hook_secret=settings.gitea_webhook_secret,
            admin=GiteaApi(address, admin) if admin else None,
        )
    if config.forge == "github":
        address, token = _github(settings, config)
        return GithubSetup(
            GithubApi(address, token),
            base_branch=config.base_branch,
            hook_secret=settings.github_webhook_secret,
            admin=GithubApi(address, admin) if admin else None,
        )
    return None


def delivery_meaning(source: str, event: str, body: bytes) -> str | None:
    """What is the same in every delivery of one happening at ``source``; None where only the content can tell."""
    return gitea_deliveries.meaning(event, body) if source == "gitea" else None


class _GitOf(TypedDict):
    base_branch: str
    scratch: Path
    environment: Callable[[], Mapping[str, str]]


def _git_of(settings: Settings, config: ProjectConfig) -> _GitOf:
    scratch = settings.data_dir / "git" / "forges" / f"{config.key}.git"
    return _GitOf(base_branch=config.base_branch, scratch=scratch, environment=settings.basic_environment)


def _gitea(settings: Settings, config: ProjectConfig) -> tuple[Address, Secret]:
    url = _needed(config, "ORCH_GITEA_URL", settings.gitea_url)
    token = _needed(config, "ORCH_GITEA_TOKEN", settings.gitea_token)
    return address_of(config.key, config.repository, url, "ORCH_GITEA_URL"), token


def _github(settings: Settings, config: ProjectConfig) -> tuple[Address, Secret]:
    token = _needed(config, "ORCH_GITHUB_TOKEN", settings.github_token)
    return address_of(config.key, config.repository, settings.github_url, "ORCH_GITHUB_URL"), token


def _needed(config: ProjectConfig, name: str, value: T | None) -> T:
    if value is None:
        raise ConfigurationError(f"project {config.key}: the forge {config.forge} needs {name}", remedy=f"set {name}")
    return value


def build_notifier(settings: Settings, name: str) -> Notifier:
    """The notifier ``name``. Raises ConfigurationError for one that does not exist or lacks its settings."""
    if name == "log":
        return LogNotifier(settings.data_dir / "notifications.jsonl")
    if name == "telegram":
        if settings.telegram_token is None or settings.telegram_chat is None:
            raise ConfigurationError(
                "notifications: telegram needs ORCH_TELEGRAM_TOKEN and ORCH_TELEGRAM_CHAT", remedy="set both"
            )
        if settings.telegram_url is not None:
            return TelegramNotifier(settings.telegram_token, settings.telegram_chat, api=settings.telegram_url)
        return TelegramNotifier(settings.telegram_token, settings.telegram_chat)
    return _plugin("notifiers", name)(settings)  # type: ignore[return-value]  # as above


def _plugins(kind: str) -> dict[str, AgentCli]:
    return {one.name: one.load()() for one in entry_points(group=_PLUGINS.format(kind))}


def _plugin(kind: str, name: str) -> Callable[..., object]:
    for one in entry_points(group=_PLUGINS.format(kind)):
        if one.name == name:
            loaded: Callable[..., object] = one.load()
            return loaded
    raise ConfigurationError(
        f"{kind.removesuffix('s')} {name!r} does not exist", remedy=f"use «local», or install a plugin for {name}"
    )
