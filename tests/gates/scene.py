"""What gates are tested on: a real repository, real commands, and small fakes for forge, tracker and deployer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from orchestrator.adapters.children import LeasedChildren
from orchestrator.adapters.git import GitWorkspaces
from orchestrator.adapters.host import this_host
from orchestrator.domain.configuration import (
    DeploySpec,
    GateConfig,
    ProjectConfig,
    RepositoryConfig,
)
from orchestrator.domain.errors import NotFoundError
from orchestrator.domain.stages import Stage
from orchestrator.domain.verdicts import Artifact, Finding, Severity, Verdict, VerdictKind
from orchestrator.domain.views import (
    DeploymentStatus,
    DeploymentView,
    GateResult,
    GateResultView,
    JobStatus,
    JobView,
    Outcome,
)
from orchestrator.gates import QG_CHECKS, GateContext
from orchestrator.ports import (
    CommitStatus,
    Deployer,
    Forge,
    MergeCandidate,
    MergeConflict,
    Observation,
    ProjectPorts,
    RepositoryConfigs,
    StatusState,
    Tracker,
    TrackerState,
    WorkItem,
)
from orchestrator.store.database import Store
from tests.task_views import EMPTY_VIEW

NOW = datetime(2025, 1, 1, tzinfo=UTC)
ITEM, PROJECT, BRANCH = "D-1", "D", "orch/d-1"


def git(repository: Path, *arguments: str, stdin: str = "") -> str:
    """A git call on the bare ``repository``."""
    done = subprocess.run(
        ["git", f"--git-dir={repository}", *arguments], input=stdin.encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def commit(
    repository: Path, branch: str, parents: Sequence[str], files: Mapping[str, str], removed: Sequence[str] = ()
) -> str:
    """Put a commit on ``branch`` of the bare ``repository``, in one process."""
    lines = [f"commit refs/heads/{branch}", "mark :1", "committer Somebody <somebody@example.com> 1700000000 +0000"]
    lines += ["data 6", "change", *(f"{word} {sha}" for word, sha in zip(("from", "merge"), parents, strict=False))]
    lines += [f"D {name}" for name in removed]
    for name, content in files.items():
        lines += [f"M 100644 inline {name}", f"data {len(content.encode())}", content]
    return git(repository, "fast-import", "--quiet", "--force", stdin="\n".join([*lines, "get-mark :1", ""]))


@dataclass
class FakeForge:
    """Tips are the remote's own; statuses are kept here. ``deaf``: it takes a status and forgets it."""

    remote: Path
    reported: dict[tuple[str, str], CommitStatus] = field(default_factory=dict)
    deaf: bool = False

    def branch_tip(self, branch: str) -> str | None:
        return git(self.remote, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}") or None

    def statuses(self, sha: str) -> Sequence[CommitStatus]:
        return [status for (of, _context), status in self.reported.items() if of == sha]

    def set_status(self, sha: str, context: str, state: StatusState, description: str) -> None:
        if not self.deaf:
            self.reported[sha, context] = CommitStatus(context, state, description)

    def state(self, sha: str, context: str) -> StatusState | None:
        found = self.reported.get((sha, context))
        return None if found is None else found.state


@dataclass
class FakeTracker:
    author: str | None = "ada"

    def work_item(self, key: str) -> WorkItem:
        if self.author is None:
            raise NotFoundError(f"no {key}")
        return WorkItem(key, PROJECT, "t", "b", TrackerState.TO_ANALYSE, 0, self.author, (), NOW)


@dataclass
class FakeDeployer:
    """What answers in every environment."""

    answer: Observation = field(default_factory=lambda: Observation(None, False, "nothing answers"))

    def observe(self, spec: DeploySpec) -> Observation:
        return self.answer


def verdict(
    kind: VerdictKind = VerdictKind.PASS, artifacts: Iterable[Artifact] = (), findings: Iterable[Finding] = ()
) -> Verdict:
    return Verdict("run", kind, "what was done", tuple(findings), tuple(artifacts))


NEEDS_CHANGES = verdict(
    VerdictKind.NEEDS_CHANGES, findings=[Finding(Severity.MAJOR, "a race", "two writers, no lock", "app.py", 7)]
)


def job(stage: Stage, answer: Verdict | None, head: str | None) -> JobView:
    return JobView(1, stage, 1, 0, JobStatus.RUNNING, "n", None, None, NOW, Outcome.VERDICT, answer, head)


def deployment(environment: str, sha: str, status: DeploymentStatus, detail: str = "") -> DeploymentView:
    return DeploymentView(1, environment, 1, sha, status, None, None, detail)


class Scene:
    """One task in one repository. ``base`` and ``head`` commit files and push them; ``judge`` asks a gate."""

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        self.folder, self.store = folder, store
        self.remote = remote = folder / "remote.git"
        git(remote, "init", "-q", "--bare", "--template=", "-b", "main")
        environment = {"PATH": os.environ["PATH"]}
        self.work = GitWorkspaces(folder / "node", PROJECT, str(remote), "main", lambda: environment)
        self.forge, self.tracker, self.deployer = FakeForge(remote), FakeTracker(), FakeDeployer()
        self.children = LeasedChildren(this_host("n"), lambda _group: True, environment)
        self.config = ProjectConfig(PROJECT, str(remote))
        self.repository = RepositoryConfig("digest")
        self.view = replace(EMPTY_VIEW, branch=BRANCH)
        self.base_sha = ""
        self.candidate: MergeCandidate | None = None
        self.conflict: MergeConflict | None = None

    def base(self, files: Mapping[str, str], *, removed: Sequence[str] = ()) -> str:
        """A commit of somebody on the base branch."""
        parents = [self.base_sha] if self.base_sha else []
        self.base_sha = commit(self.remote, "main", parents, files, removed)
        return self.base_sha

    def head(self, files: Mapping[str, str], *, removed: Sequence[str] = ()) -> str:
        """A commit of the agent on the task's branch."""
        sha = commit(self.remote, BRANCH, [self.view.head_sha or self.base_sha], files, removed)
        self.view = replace(self.view, head_sha=sha)
        return sha

    def merge(self) -> MergeCandidate | MergeConflict:
        """Build the merge of head and base, as the lane does."""
        assert self.view.head_sha is not None
        built = self.work.build_merge(self.view.head_sha, self.base_sha, "merge")
        self.candidate = built if isinstance(built, MergeCandidate) else None
        self.conflict = built if isinstance(built, MergeConflict) else None
        return built

    def configure(self, *, gates: GateConfig | None = None, **changes: object) -> None:
        """Change what ``.orchestrator.yml`` says."""
        self.repository = replace(self.repository, gates=gates or self.repository.gates, **changes)  # type: ignore[arg-type]  # a test's own names

    def answered(self, stage: Stage, answer: Verdict | None, head: str | None = None) -> None:
        """The newest run of ``stage`` gave this verdict, on the present head unless another is named."""
        self.view = replace(self.view, stage=stage, job=job(stage, answer, head or self.view.head_sha))

    def deployed(self, *rows: DeploymentView) -> None:
        self.view = replace(self.view, deployments=rows)

    def answers(self, version: str | None, *, healthy: bool = True) -> None:
        """What the next look at an environment shows."""
        self.deployer.answer = Observation(version, healthy, "GET / says so")

    def context(self) -> GateContext:
        ports = ProjectPorts(
            config=self.config,
            tracker=cast("Tracker", self.tracker),
            forge=cast("Forge", self.forge),
            workspaces=self.work,
            repository=cast("RepositoryConfigs", None),
            deployer=cast("Deployer", self.deployer),
        )
        return GateContext(
            view=self.view,
            ports=ports,
            repository=self.repository,
            base_sha=self.base_sha,
            candidate=self.candidate,
            children=self.children,
            store=cast("Store", self.store),
            conflict=self.conflict,
        )

    def judge(self, gate: str) -> GateResult:
        """Ask the gate, and remember what it said as the engine does."""
        result = QG_CHECKS[gate](self.context())
        seen = GateResultView(gate, result.outcome, result.evidence, result.head_sha, NOW, None, result.figure)
        self.view = replace(self.view, gate_results=(*self.view.gate_results, seen))
        return result
