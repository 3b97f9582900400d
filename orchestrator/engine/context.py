"""What the engine works with: built once a process by ``bootstrap``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.configuration import ProjectConfig
from orchestrator.domain.ownership import Owner
from orchestrator.domain.stages import AGENT_STAGES, OPTIONAL_AGENT_STAGES
from orchestrator.domain.views import Policy, TaskView
from orchestrator.ports import (
    AgentCli,
    AgentRuns,
    ChildRunners,
    Clock,
    Host,
    Notifier,
    Nudges,
    ProjectPorts,
    Prompts,
    VerdictFiles,
)
from orchestrator.settings import Switches, Timings
from orchestrator.store import task_views
from orchestrator.store.database import Store


@dataclass(frozen=True, slots=True)
class Engine:
    """Every part that a pass may need. ``project`` answers with the ports of a configured project, or raises
    ConfigurationError for one that no configuration names."""

    store: Store
    host: Host
    clock: Clock
    nudges: Nudges
    notifiers: tuple[Notifier, ...]
    project: Callable[[str], ProjectPorts]
    project_keys: Callable[[], tuple[str, ...]]
    agents: AgentRuns
    clis: Mapping[str, AgentCli]
    verdicts: VerdictFiles
    prompts: Prompts
    children: ChildRunners
    switches: Switches
    timings: Timings
    runs_dir: Path

    def lease_is_enforced(self, project: str) -> bool:
        """Whether the transition lease is on for this project (the switch and its scope)."""
        scope = self.switches.transition_lease_repos
        return self.switches.transition_lease_enabled and ("*" in scope or project in scope)

    def view(self, task_id: int, config: ProjectConfig) -> TaskView | None:
        """One fresh snapshot of a task."""
        with self.store.snapshot() as connection:
            return task_views.read(
                connection, task_id, policy_of(config), stop_enabled=self.switches.stop_status_enabled
            )

    def owner(self) -> Owner:
        """This process, as an owner. Asked anew each time: a forked child is somebody else."""
        return self.host.myself()


def policy_of(config: ProjectConfig) -> Policy:
    """What ``decide`` needs of a project's configuration."""
    stages = (*AGENT_STAGES, *OPTIONAL_AGENT_STAGES)
    return Policy(
        approval=config.approval,
        on_deploy_failure=config.on_deploy_failure,
        concurrency=config.concurrency,
        limits=config.limits,
        agent_stages=frozenset(stage for stage in stages if config.agent_for(stage) is not None),
        runtimes={stage: spec.runtime for stage in stages if (spec := config.agent_for(stage)) is not None},
    )
