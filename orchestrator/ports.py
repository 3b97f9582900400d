"""What the engine, the gates and the effects ask of the world outside. Adapters implement these; the core
knows no vendor.

Every method is a current read or one write. Errors are the four kinds of ``domain.errors``: a
``TransientError`` from a write says nothing about whether it landed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from orchestrator.domain.commits import CommitRecord as CommitRecord
from orchestrator.domain.commits import MergeCandidate as MergeCandidate
from orchestrator.domain.commits import MergeConflict as MergeConflict
from orchestrator.domain.configuration import AgentSpec, DeploySpec, ProjectConfig, RepositoryConfig
from orchestrator.domain.deploy_repair import CommandState
from orchestrator.domain.forge_facts import OWN_CONTEXT as OWN_CONTEXT
from orchestrator.domain.forge_facts import Checked as Checked
from orchestrator.domain.forge_facts import CommitStatus as CommitStatus
from orchestrator.domain.forge_facts import PullRequest as PullRequest
from orchestrator.domain.forge_facts import PullRequestState as PullRequestState
from orchestrator.domain.forge_facts import StatusState as StatusState
from orchestrator.domain.hints import OWN_WRITE as OWN_WRITE
from orchestrator.domain.hints import Hint as Hint
from orchestrator.domain.ownership import ChildGroup, Liveness, Owner, Probe
from orchestrator.domain.run_reports import RunReport
from orchestrator.domain.runs import PromptFacts as PromptFacts
from orchestrator.domain.runs import RunExit as RunExit
from orchestrator.domain.stages import Stage
from orchestrator.domain.verdicts import InvalidVerdict, Verdict
from orchestrator.domain.work_items import TrackerState as TrackerState
from orchestrator.domain.work_items import WorkItem as WorkItem


class Clock(Protocol):
    """Time of this process; what two nodes could compare comes from the database instead."""

    def now(self) -> datetime:
        """Aware UTC time."""

    def sleep(self, seconds: float) -> None: ...


# --- tracker ---------------------------------------------------------------------------------------------


class Tracker(Protocol):
    """Where work items live. Keys are what people say: ``ORCH-114``."""

    def work_item(self, key: str) -> WorkItem:
        """A current read. Raises NotFoundError."""

    def changed_since(self, moment: datetime | None, limit: int) -> Sequence[WorkItem]:
        """Items changed at or after ``moment``, oldest first: finds what webhooks lost."""

    def set_state(self, key: str, state: TrackerState) -> None:
        """Move the item. Repeating it is harmless."""

    def find_comment(self, key: str, marker: str) -> str | None:
        """Id of the comment that carries ``marker``, or None. Raises NotFoundError without such an item."""

    def add_comment(self, key: str, marker: str, text: str) -> str:
        """Add ``text`` (plain text, escaped by the adapter) with the hidden ``marker``; id of the comment."""


@runtime_checkable
class GuardedTracker(Tracker, Protocol):
    """A tracker that can move an item from one known state only, so that no word of a person is written over."""

    def set_state_if(self, key: str, state: TrackerState, *, expected: TrackerState) -> bool:
        """Move the item if it still stands at ``expected``, as one write; False (and nothing done) when it does not.

        Raises NotFoundError.
        """


@runtime_checkable
class WritableTracker(Tracker, Protocol):
    """A tracker in which the orchestrator itself may make work items: the built-in one."""

    def add_item(
        self,
        title: str,
        *,
        body: str = "",
        priority: int = 0,
        author: str,
        key: str | None = None,
        blocked_by: Sequence[str] = (),
    ) -> str:
        """Add an item in ``to-analyse``; its key. Raises UsageError or NotFoundError and adds nothing."""


# --- deliveries ------------------------------------------------------------------------------------------


@runtime_checkable
class ReadsDeliveries(Protocol):
    """A tracker or forge that can say what a delivery of its own webhook is about."""

    def hint(self, event: str, body: bytes) -> Hint | None:
        """None: it is not about this project. A body that makes no sense is a hint at everything, never an error;
        raises TransientError when it takes a read to tell, and that read is not answered."""


# --- forge -----------------------------------------------------------------------------------------------


class Forge(Protocol):
    """Branches, pull requests and statuses of one repository. All reads are current."""

    def remote_url(self) -> str:
        """What git fetches from and pushes to; credentials never stand in it."""

    def git_environment(self) -> Mapping[str, str]:
        """Extra environment for git calls of the orchestrator itself (credentials); never given to an agent."""

    def branch_tip(self, branch: str) -> str | None: ...

    def find_pull_requests(self, head_branch: str) -> Sequence[PullRequest]:
        """All pull requests from that branch, in every state, oldest first."""

    def pull_request(self, number: int) -> PullRequest: ...

    def open_pull_request(self, *, head_branch: str, base_branch: str, title: str, body: str) -> PullRequest:
        """Open one; ``body`` carries the marker by which a successor recognises it."""

    def merge_pull_request(self, number: int, *, expected_head: str, message: str) -> None:
        """Fast-forward the base branch to ``expected_head``; refused when the head or the base moved."""

    def settle_pull_request(self, number: int, merged_sha: str) -> None:
        """Mark as merged a pull request whose head already is in the base branch."""

    def close_pull_request(self, number: int) -> None:
        """Close for good, without merging. Closing a closed one is harmless."""

    def delete_branch(self, branch: str, *, expected_tip: str) -> None:
        """Delete the branch only while it stands at ``expected_tip``. Gone already is success."""

    def statuses(self, sha: str) -> Sequence[CommitStatus]:
        """The newest status of each context, over all pages."""

    def set_status(self, sha: str, context: str, state: StatusState, description: str) -> None: ...


class TrackerSetup(Protocol):
    """Connects a tracker's project: the key, what it sees, its states, and what can be said of its webhook."""

    def check(self, hook_url: str) -> Sequence[Checked]:
        """Every finding; nothing is changed. ``hook_url`` is where the tracker is to send its webhooks."""


class ForgeSetup(Protocol):
    """Connects a repository: the rights of the token, the protection of the base branch, the webhook."""

    def check(self, hook_url: str) -> Sequence[Checked]:
        """Every finding; nothing is changed. ``hook_url`` is where the forge is to send its webhooks."""

    def prepare(self, hook_url: str) -> Sequence[Checked]:
        """Put right what can be; repeating it changes nothing. Needs an administrator's rights."""

    def ping(self, hook_url: str) -> bool:
        """Have the forge send a delivery to ``hook_url`` now; False: it has no webhook to there."""


# --- git -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a configured command did. ``output`` is the end of stdout and stderr together, capped."""

    exit_code: int
    output: str
    duration_s: float
    timed_out: bool = False


class Workspaces(Protocol):
    """Clones, worktrees and branches of one project on this node. The orchestrator's own git: hooks and
    fsmonitor off, no force, no prompt."""

    def fetch(self) -> None:
        """Bring the local mirror up to date with the forge. Raises TransientError when unreachable."""

    def base_tip(self) -> str:
        """Current tip of the base branch at the forge."""

    def branch_tip(self, branch: str) -> str | None:
        """Current tip of ``branch`` at the forge, or None."""

    def prepare(self, branch: str, from_base: Sequence[str] = ()) -> Path:
        """The task's worktree on ``branch`` (made from the base branch when new), clean, at the forge's tip; what
        ``from_base`` names stands there as the branch found it on the base branch, ignored files too."""

    def path_of(self, branch: str) -> Path: ...

    def commit_all(self, branch: str, message: str) -> str:
        """Commit what the agent left in the worktree; the head SHA (unchanged when nothing was left)."""

    def changes_of_git(self, branch: str) -> Sequence[str]:
        """What an agent changed of its worktree's git configuration, hooks and the like, a line each; never obeyed."""

    def publish(self, branch: str, new: str, expected_old: str | None) -> None:
        """Push ``new`` to ``branch`` only while it stands at ``expected_old`` (None: does not exist) and only as a
        fast-forward. Raises LostRaceError when the branch moved. Repeating it after success is harmless."""

    def move_aside(self, branch: str, expected_old: str) -> str:
        """Revocation: give ``branch`` a head it never had (an empty commit on top), by conditional push; new head."""

    def build_merge(self, head: str, base: str, message: str) -> MergeCandidate | MergeConflict:
        """Build the merge commit of (base, head) without publishing it. The same inputs give the same commit."""

    def checkout(self, sha: str) -> AbstractContextManager[Path]:
        """A throw-away worktree at ``sha``; removed at exit."""

    def read_file(self, sha: str, path: str) -> bytes | None: ...
    def list_files(self, sha: str) -> Sequence[str]: ...
    def tree_of(self, sha: str) -> str: ...

    def changed_files(self, base: str, head: str) -> Sequence[str]:
        """Paths changed on the way from the merge base of both to ``head``."""

    def diff(self, base: str, head: str, paths: Sequence[str] = ()) -> str:
        """Unified diff from the merge base of both to ``head``."""

    def is_ancestor(self, ancestor: str, descendant: str) -> bool: ...

    def commit_message(self, sha: str) -> str: ...

    def branches(self) -> Mapping[str, str]:
        """Every branch at the forge now with its tip, by one read."""

    def history(self, tip: str, limit: int) -> Sequence[CommitRecord]:
        """The commits along first parents from ``tip``, newest first, at most ``limit``, by one read."""

    def first_parents(self, tip: str, limit: int) -> Sequence[tuple[str, tuple[str, ...]]]:
        """(sha, its parents) along first parents from ``tip``, newest first."""

    def remove(self, branch: str) -> None:
        """Remove the task's worktree and local branch. Gone already is success."""

    def remove_if(self, branch: str, unused: Callable[[], bool]) -> bool:
        """As ``remove``, if ``unused`` says so while nobody can ``prepare`` here; whether it was removed."""

    def exists(self, branch: str) -> bool: ...

    def worktrees(self) -> Sequence[str]:
        """Branches that have a worktree on this node."""


# --- processes -------------------------------------------------------------------------------------------


class Host(Probe, Protocol):
    """This node: identities, liveness, signals, disk."""

    def myself(self) -> Owner:
        """Identity of the calling process; call it after fork."""

    def liveness(self, owner: Owner) -> Liveness: ...

    def kill(self, owner: Owner, timeout_s: float) -> bool:
        """SIGKILL exactly that process (pidfd, identity re-checked) and see it dead; False when it could not be."""

    def kill_group(self, pgid: int, timeout_s: float, leader_start_ticks: int | None = None) -> bool:
        """End a process group and see it empty; True also when it was empty already, or when its leader's start
        ticks show that the number was given to somebody else."""

    def free_bytes(self, path: Path) -> int: ...


class ChildRunner(Protocol):
    """Runs a configured command of a gate or an effect. Its process group is written to the lease row before
    the command starts, so that whoever takes the lease over can end it."""

    def run(
        self, argv: Sequence[str], *, cwd: Path, timeout_s: float, environment: Mapping[str, str] | None = None
    ) -> CommandResult: ...


# --- agents ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """What one run is started with. ``environment`` is complete: nothing else reaches the agent."""

    run_id: str
    run_dir: Path
    worktree: Path
    prompt: str
    spec: AgentSpec
    stage: Stage
    session_id: str | None = None
    """The CLI's session that this run goes on with; None begins a new one."""
    home_of: Path | None = None
    """Directory of the run whose home this one takes over: sessions live there."""


@dataclass(frozen=True, slots=True)
class AgentCommand:
    """How to start a CLI: argv without a shell, its own environment additions, and which signal stops it gently."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    gentle_signal: int


@dataclass(frozen=True, slots=True)
class RunOutput:
    """What a run left: the capped files of its output, and how its process ended."""

    stdout: Path
    stderr: Path
    ended: RunExit


class AgentCli(Protocol):
    """One agent runtime. ``read`` looks at what the process printed, never at prose for a verdict."""

    name: str

    def command(self, request: AgentRequest) -> AgentCommand:
        """How to start it. Raises ConfigurationError for a configuration that cannot be started."""

    def read(self, output: RunOutput) -> RunReport:
        """What its stream tells. Never raises for what an agent printed: unknown events and broken lines are skipped
        and counted."""

    def readable(self, line: str) -> str | None:
        """A line of its stream in words for people; None for one that tells them nothing."""


class AgentRuns(Protocol):
    """Agent processes on this node, under the shim. They survive every restart of the orchestrator."""

    def start(self, request: AgentRequest) -> Owner:
        """Start the shim for this run in a session of its own; identity of the shim. Starting the same
        ``run_dir`` again finds the run that is there (at most one process a run)."""

    def owner(self, run_dir: Path) -> Owner | None:
        """Identity that the shim wrote, or None when it never came up."""

    def exit_record(self, run_dir: Path) -> RunExit | None: ...

    def report(self, run_dir: Path, runtime: str) -> RunReport:
        """What the CLI's output tells of a run that ended."""

    def so_far(self, run_dir: Path, runtime: str) -> RunReport:
        """What the stream of a run tells that has not ended, or whose end nobody saw."""

    def stop(self, run_dir: Path, grace_s: float, *, over_budget: str = "") -> Sequence[str]:
        """End the run and everything it left behind; the proof, a line for each process seen dead.
        ``over_budget``: the figure that it was ended for; empty: somebody asked for the end."""

    def output_tail(self, run_dir: Path, limit: int) -> str: ...

    def lines(self, run_dir: Path, runtime: str, at: int, *, raw: bool = False) -> tuple[Sequence[str], int]:
        """Whole lines of stdout from byte ``at`` on (less than 0: from its end), readable or not; where to go on."""

    def finished(self) -> Iterator[Path]:
        """Run directories on this node that hold an exit record not yet acknowledged."""

    def acknowledge(self, run_dir: Path, *, keep_home: bool = False) -> None:
        """The outcome of that run is in the database; ``finished`` names it no more. Repeating it is harmless.
        ``keep_home``: a later run may go on with its session."""

    def acknowledged(self, age_s: float) -> Sequence[Path]:
        """Run directories on this node that were acknowledged more than ``age_s`` seconds ago, oldest first."""

    def forget(self, run_dir: Path) -> None:
        """Remove the directory of an acknowledged run with its output. Repeating it is harmless."""


class Prompts(Protocol):
    """Words for agents; a pure function of values."""

    def render(self, stage: Stage, facts: PromptFacts) -> str:
        """The whole prompt of one run; its last lines name the verdict channel."""

    def own_template(self, stage: Stage) -> str:
        """Path of the repository's own text for a stage, in place of the one that is built in."""

    def render_repair(self, errors: Sequence[str], run_id: str = "") -> str:
        """What an agent that still knows its work is told when its verdict was missing or wrong."""


class VerdictFiles(Protocol):
    """The file an agent answers by. Preparing it is a part of ``AgentRuns.start``."""

    def read(self, worktree: Path, run_id: str) -> Verdict | InvalidVerdict:
        """The verdict of that run, or every error of what lies there. Only after the run and its sweep."""


# --- deploys ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observation:
    """What answers in an environment now. ``version`` is the SHA it names, None when nothing answers."""

    version: str | None
    healthy: bool
    detail: str


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """One deployment, as the driver needs it."""

    deployment_id: int
    project: str
    environment: str
    sha: str
    image: str | None
    spec: DeploySpec


class Deployer(Protocol):
    """Starts the detached deployer of one deployment row and looks at an environment."""

    def launch(self, request: DeployRequest) -> None:
        """Start the detached deployer; it wins ``requested -> running`` by itself or leaves. Twice is harmless."""

    def observe(self, spec: DeploySpec) -> Observation: ...

    def command_state(self, deployment_id: int) -> CommandState:
        """What this node knows of that deployment's command, which may outlive its deployer."""

    def end_command(self, deployment_id: int) -> bool:
        """End that command on this node and see it dead; True also when it had ended. Only for a dead deployer."""


# --- people ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to people. ``severity``: info | warning | alert."""

    title: str
    text: str
    severity: str = "info"


class Notifier(Protocol):
    name: str

    def send(self, notification: Notification) -> None: ...


# --- configuration of a repository -----------------------------------------------------------------------


class RepositoryConfigs(Protocol):
    """``.orchestrator.yml`` of a project, read from a commit of its base branch."""

    def at(self, base_sha: str) -> RepositoryConfig:
        """Raises ConfigurationError with file:line:column lines."""


class Nudges(Protocol):
    """Messages that only say «look at this». A lost, doubled or late one costs nothing; a broker that is down
    is logged and forgotten: the reconciler nudges again."""

    def drive(self, task_id: int, work_item: str, actor: str) -> None: ...

    def launch_agent(self, node: str, job_id: int, work_item: str) -> None: ...

    def stop_agent(self, node: str, job_id: int, work_item: str) -> None: ...

    def finish_job(self, node: str, job_id: int, work_item: str) -> None: ...

    def finalize_deploys(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ProjectPorts:
    """Everything outside that one project has, and what its operator configured."""

    config: ProjectConfig
    tracker: Tracker
    forge: Forge
    workspaces: Workspaces
    repository: RepositoryConfigs
    deployer: Deployer


class ChildRunners(Protocol):
    """Makes a ``ChildRunner`` for one lease."""

    def __call__(self, announce: Callable[[ChildGroup | None], bool]) -> ChildRunner:
        """``announce`` writes the group to the lease before the command starts (False: the lease is gone, do not
        start it), and None after it was seen ended."""
