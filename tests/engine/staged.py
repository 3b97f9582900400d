"""Tasks brought to a stage by real commits without their agents, and real processes that drive them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.ownership import Committed, HeldLease
from orchestrator.domain.stages import Stage, forward_edge
from orchestrator.domain.views import Outcome
from orchestrator.engine import intake
from orchestrator.store import jobs, leases, stage_commits, tasks
from orchestrator.store.jobs import NewRun, Settlement
from orchestrator.store.stage_commits import NextJob, StageCommit
from tests.engine.real_engine import World, git
from tests.processes import until
from tests.verdict_documents import document

PROGRAM = Path(__file__).parent / "drive_process.py"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Staged:
    """A task at some stage; ``head`` is the tip of its branch."""

    task_id: int
    work_item: str
    head: str
    job_id: int | None = None


def staged(
    world: World, tmp_path: Path, stage: Stage, *, key: str = "DEMO-1", files: Mapping[str, str] | None = None
) -> Staged:
    """A work item whose branch has a change (and ``files``) and, from review on, a pull request; its job is settled
    with a pass where the stage has an agent, so that the next drive takes the edge."""
    item = intake.add_item(world.engine, "DEMO", "Add a value", author="ann", key=key)
    world.nudges.held.clear()
    with world.engine.store.transaction() as connection:
        task = tasks.find(connection, item)
    assert task is not None
    head = push_change(world, tmp_path, item, files or {})
    return brought_to(world, task.id, item, head, stage)


def brought_to(world: World, task_id: int, item: str, head: str, stage: Stage) -> Staged:
    """The task at ``stage`` with ``head`` judged, from wherever it stands before that."""
    world.change("UPDATE tasks SET head_sha = %s WHERE id = %s", head, task_id)
    [(at, seq, branch)] = world.rows("SELECT stage, stage_seq, branch FROM tasks WHERE id = %s", task_id)
    at = Stage(at)
    while at is not stage:
        at, seq = _step(world, task_id, at, seq), seq + 1
    if stage in (Stage.REVIEW, Stage.TESTING, Stage.DEPLOY_STAGING, Stage.DEPLOY):
        opened = world.engine.project("DEMO").forge.open_pull_request(
            head_branch=branch, base_branch="main", title="Add a value", body=""
        )
        world.change("UPDATE tasks SET pull_request = %s WHERE id = %s", opened.number, task_id)
    return Staged(task_id, item, head, settled_job(world, task_id, head))


def push_change(world: World, tmp_path: Path, item: str, files: Mapping[str, str]) -> str:
    clone = tmp_path / f"clone-{item}"
    git(tmp_path, "clone", "-q", str(world.repository), str(clone))
    git(clone, "checkout", "-q", "-b", f"orch/{item}")
    name = item.lower().replace("-", "_")
    (clone / f"{name}.py").write_text("VALUE = 1\n")
    (clone / "tests" / f"test_{name}.py").write_text(
        f"import unittest\n\nimport {name}\n\n\nclass T(unittest.TestCase):\n    def test_value(self):\n"
        f"        self.assertEqual({name}.VALUE, 1)\n"
    )
    for stage in ("analysis", "architecture"):
        document = clone / "docs" / "work-items" / item / f"{stage}.md"
        document.parent.mkdir(parents=True, exist_ok=True)
        document.write_text(f"# {stage}\n\nDone.\n")
    for path, content in files.items():
        (clone / path).write_text(content)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", f"{item}: add a value")
    git(clone, "push", "-q", "origin", f"orch/{item}")
    return git(clone, "rev-parse", "HEAD")


def push_to_base(world: World, tmp_path: Path, name: str, content: str) -> str:
    """A person puts a file on the base branch; the tip after it."""
    clone = tmp_path / "person"
    if not clone.exists():
        git(tmp_path, "clone", "-q", str(world.repository), str(clone))
    git(clone, "pull", "-q", "--ff-only", "origin", "main")
    (clone / name).write_text(content)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", f"Write {name}")
    git(clone, "push", "-q", "origin", "HEAD:main")
    return git(clone, "rev-parse", "HEAD")


def _step(world: World, task_id: int, at: Stage, seq: int) -> Stage:
    edge = forward_edge(at)
    assert edge is not None
    engine = world.engine
    with_agent = engine.project("DEMO").config.agent_for(edge.target) is not None
    step = StageCommit(at, seq, edge.target, next_job=NextJob() if with_agent else None)
    entry = leases.Entry(edge.name, "operator", engine.owner())
    with engine.store.transaction("operator") as connection:
        held = leases.acquire(connection, task_id, entry, engine.host)
        assert isinstance(held, HeldLease)
        assert isinstance(stage_commits.commit_stage_cas(connection, held, step), Committed)
    return edge.target


def settled_job(world: World, task_id: int, head: str) -> int | None:
    """The task's queued job as if its agent had passed it just now."""
    engine = world.engine
    with engine.store.transaction() as connection:
        job = jobs.live_of_task(connection, task_id)
        if job is None:
            return None
        run_id = f"run-{job.id}-of-{task_id}"
        run = NewRun(run_id, 0, "command", engine.host.node, str(engine.runs_dir / run_id), "", engine.owner())
        assert isinstance(jobs.begin(connection, job.id, run), Committed)
        jobs.record_exit(connection, run_id, exit_code=0, signal=None, reason="exited", last_turn=True)
        verdict = document(run_id=run_id, summary=f"{job.stage} is done")
        assert isinstance(jobs.settle(connection, job.id, Settlement(Outcome.VERDICT, verdict, head)), Committed)
    return job.id


@dataclass
class Drives:
    """Processes that enter the same engine from outside; ended however the test ends."""

    environment: Mapping[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: object, failpoints: str = "", **settings: str) -> subprocess.Popen[str]:
        """Run ``drive_process.py`` with these arguments; its last line of stdout says how it ended."""
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *map(str, arguments)],
            env={**self.environment, "PYTHONPATH": str(ROOT), "ORCH_FAILPOINTS": failpoints, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()


def reached(file: Path, *, timeout_s: float = 60.0) -> None:
    """Wait until a process stands at its point ``wait:file``."""
    until(file.with_name(f"{file.name}.reached").exists, timeout_s)


def said(process: subprocess.Popen[str], *, timeout_s: float = 90.0) -> Sequence[object]:
    """What the process reports when it ends."""
    out, error = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, error
    found: Sequence[object] = json.loads(out.splitlines()[-1])
    return found
