"""Configuration as values. ``settings`` and ``project_config`` read and check them; nobody else parses anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from orchestrator.domain.stages import Stage
from orchestrator.domain.work_items import TrackerState


class Approval(StrEnum):
    """Whether a person must approve before production."""

    NONE = "none"
    REQUIRED = "required"


class OnDeployFailure(StrEnum):
    """What follows a failed production deploy, after the previous version is back."""

    PARK = "park"
    FIX_FORWARD = "fix-forward"


class Sandbox(StrEnum):
    """Whether an agent runs in a sandbox: never without one, in one where it can be had, or without."""

    REQUIRED = "required"
    PREFERRED = "preferred"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """Which agent does a stage, and what it may use. Times in seconds.

    ``command`` is the program of the runtime ``command``, and replaces the name of a CLI where that is not on the
    path; ``arguments`` are added to a CLI's own. ``max_turns`` and ``max_usd`` bound one run, where the CLI can.
    ``credentials`` are files by the name of the variable that the agent gets their text in, nobody else does.
    ``sandbox_readable`` are paths that it sees beside the system and its own. A limit of 0 is off.
    """

    runtime: str = "command"
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    model: str | None = None
    max_turns: int | None = None
    max_usd: float | None = None
    wall_clock_s: int = 3600
    silence_s: int = 900
    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict)
    sandbox: Sandbox = Sandbox.PREFERRED
    sandbox_readable: tuple[str, ...] = ()
    memory_mib: int = 8192
    processes: int = 500
    file_size_mib: int = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that are on by default; reaching one parks the task with the figure.

    ``gate_errors``: errors in a row of a gate or of the outside. Their delays double from 1 s to 300 s, so that ten
    outlast a restart of a forge (a quarter of an hour). Budgets count agent runs: a task is an item, a day is one of
    the whole project in UTC; 0 is off. US dollars are the estimates of the CLIs.
    """

    attempts_per_stage: int = 3
    roll_backs_per_task: int = 5
    gate_errors: int = 10
    runs_per_node: int = 8
    runs_per_project: int = 4
    free_disk_bytes: int = 256 * 1024 * 1024
    usd_per_run: float = 20.0
    usd_per_item: float = 100.0
    usd_per_day: float = 300.0
    tokens_per_run: int = 0
    tokens_per_item: int = 0
    tokens_per_day: int = 0
    hours_per_item: float = 24.0


@dataclass(frozen=True, slots=True)
class PlaneState:
    """A state of a Plane project. ``group``: backlog, unstarted, started, completed or cancelled; empty: any."""

    name: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class PlaneConfig:
    """Where the work items of a project live in Plane; its identifier there is the project's key.

    ``states`` names the states that are called otherwise than by default; ids are found by name and group.
    """

    workspace: str = ""
    states: Mapping[TrackerState, PlaneState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """One project of ``orchestrator.yml``: what the operator decides.

    ``authorising_labels``: an item needs one of them before agents work on it; empty: its state is enough.
    """

    key: str
    repository: str
    tracker: str = "local"
    forge: str = "local"
    base_branch: str = "main"
    concurrency: int = 1
    approval: Approval = Approval.NONE
    on_deploy_failure: OnDeployFailure = OnDeployFailure.PARK
    trusted_authors: tuple[str, ...] = ()
    authorising_labels: tuple[str, ...] = ()
    plane: PlaneConfig = PlaneConfig()
    agents: Mapping[Stage, AgentSpec] = field(default_factory=dict)
    limits: Limits = Limits()

    def agent_for(self, stage: Stage) -> AgentSpec | None:
        """The agent that does ``stage``, or None when no agent works there."""
        return self.agents.get(stage)


@dataclass(frozen=True, slots=True)
class NotificationConfig:
    """Where messages to people go: names of notifier adapters."""

    notifiers: tuple[str, ...] = ("log",)


@dataclass(frozen=True, slots=True)
class OperatorConfig:
    """The whole of ``orchestrator.yml``."""

    projects: tuple[ProjectConfig, ...] = ()
    notifications: NotificationConfig = NotificationConfig()

    def project(self, key: str) -> ProjectConfig | None:
        return next((one for one in self.projects if one.key == key), None)


@dataclass(frozen=True, slots=True)
class DeploySpec:
    """How one environment is deployed and observed.

    ``command`` is run by the detached deployer with ORCH_SHA, ORCH_IMAGE, ORCH_ENVIRONMENT and
    ORCH_DEPLOYMENT in its environment, in a checkout of that SHA; it ends when the version is meant to
    answer. ``health_url`` answers JSON with ``version`` (the SHA) and a 2xx when healthy.
    """

    driver: str = "command"
    command: tuple[str, ...] = ()
    health_url: str = ""
    timeout_s: int = 600
    health_timeout_s: int = 60


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """What an image is built from; its hash tells whether the image is stale."""

    files: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    timeout_s: int = 1800


@dataclass(frozen=True, slots=True)
class CiConfig:
    """Where green comes from: statuses that others report, or the orchestrator's own run of the tests."""

    source: str = "run"
    required: tuple[str, ...] = ()


AGENT_FILES: Final = (
    ".claude/**",
    ".mcp.json",
    ".codex/**",
    ".gemini/**",
    ".opencode/**",
    "opencode.json",
    "opencode.jsonc",
)
"""Files by which a repository configures agent CLIs: what one agent writes there, the next one would obey."""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """The repository's own gates. Paths are globs relative to its root; times in seconds.

    ``removable_tests``: tests that a change may remove or empty, as a file's path or ``path::name``; both may be globs.
    """

    ci: CiConfig = CiConfig()
    security_command: tuple[str, ...] = ()
    coverage_report: str = ""
    coverage_tolerance: float = 0.0
    test_paths: tuple[str, ...] = ("tests/**", "test/**", "**/test_*.py", "**/*_test.py")
    removable_tests: tuple[str, ...] = ()
    protected_paths: tuple[str, ...] = (
        ".orchestrator.yml",
        ".orchestrator/**",
        ".github/**",
        ".gitea/**",
        "Dockerfile",
        "deploy/**",
        *AGENT_FILES,
    )
    allow_protected_changes: bool = False
    timeout_s: int = 900


@dataclass(frozen=True, slots=True)
class RepositoryConfig:
    """The whole of ``.orchestrator.yml``, read from the base branch only. ``digest`` is kept with each run."""

    digest: str
    setup: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    lint: tuple[str, ...] = ()
    gates: GateConfig = GateConfig()
    image: ImageRecipe | None = None
    deploys: Mapping[str, DeploySpec] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
