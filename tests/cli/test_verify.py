"""`orch verify`: silent on what went right, it names what outside and rows say differently, and what a sweep mends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.adapters import procfs
from orchestrator.audit import Scope, audit, environments, processes, spool, texts
from orchestrator.audit import git as git_audit
from orchestrator.audit.breaches import Seen
from orchestrator.cli import exits
from orchestrator.domain.lane_merges import merge_of
from orchestrator.domain.ownership import HeldLease, Owner
from orchestrator.engine import intake
from orchestrator.ports import Observation
from orchestrator.store import leases
from tests.cli.conftest import Orch, change, start
from tests.engine.real_engine import World, git
from tests.processes import Children

ANYTHING = Scope()
OTHERS = Owner("here", "another-boot", 1, 1, 1)
SECRET = "tok-4711-secret"


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.end()


def named(seen: Seen) -> set[str]:
    return {one.invariant for one in seen.breaches}


def owner_of(world: World, pid: int) -> Owner:
    found = procfs.look(pid)
    assert found is not None
    return replace(world.engine.owner(), pid=pid, start_ticks=found.start_ticks)


def hold(world: World, task_id: int, owner: Owner) -> HeldLease:
    entry = leases.Entry("testing -> deploy-staging", "monitor", owner)
    with world.engine.store.transaction("monitor") as connection:
        held = leases.acquire(connection, task_id, entry, world.engine.host)
    assert isinstance(held, HeldLease)
    return held


# --- processes -----------------------------------------------------------------------------------------------


def test_a_lease_with_a_dead_owner_is_a_breach_and_one_with_a_live_owner_is_none(world: World) -> None:
    task = start(world.engine.store)
    hold(world, task.id, world.engine.owner())
    assert named(processes.look(world.engine, ANYTHING)) == set()
    change(world.engine.store, "UPDATE transition_lease SET owner_boot_id = 'another-boot'")
    [breach] = processes.look(world.engine, ANYTHING).breaches
    assert (breach.invariant, breach.work_item) == ("I15", "DEMO-1")
    assert "(epoch 1, since 2" in breach.evidence and "which is dead" in breach.evidence


def test_a_merge_lane_and_a_deployment_of_the_dead_are_breaches(world: World) -> None:
    task = start(world.engine.store)
    owner = "'here', 'another-boot', 1, 1, 1"
    columns = "owner_node, owner_boot_id, owner_pid_ns, owner_pid, owner_start_ticks"
    change(
        world.engine.store,
        f"""INSERT INTO merge_lease (project, base_branch, epoch, task_id, lease_epoch, {columns})
        VALUES ('D', 'main', 1, :t, 1, {owner})""",
        t=task.id,
    )
    change(
        world.engine.store,
        f"""INSERT INTO deployments (project, environment, task_id, visit, sha, status, {columns})
        VALUES ('D', 'staging', :t, 0, 'abc', 'running', {owner})""",
        t=task.id,
    )
    evidence = [one.evidence for one in processes.look(world.engine, ANYTHING).breaches]
    assert any("the merge lane D/main" in one for one in evidence)
    assert any("running deployment 1 to staging" in one for one in evidence)


def test_an_owner_that_was_followed_as_dead_and_lives_is_a_breach(world: World, children: Children) -> None:
    task = start(world.engine.store)
    hold(world, task.id, OTHERS)
    hold(world, task.id, world.engine.owner())  # proven dead: it was of another boot
    assert named(processes.look(world.engine, ANYTHING)) == set()
    child = owner_of(world, children.start().pid)
    lives = json.dumps({"owner": {one: getattr(child, one) for one in child.__dataclass_fields__}})
    change(
        world.engine.store,
        "UPDATE events SET detail = detail || CAST(:d AS jsonb) WHERE kind = 'lease.ended'",
        d=lives,
    )
    [breach] = processes.look(world.engine, ANYTHING).breaches
    assert (breach.invariant, breach.work_item) == ("I9", "DEMO-1")
    assert "was taken from" in breach.evidence and "(epoch 1; event" in breach.evidence
    assert named(processes.look(world.engine, Scope(item="DEMO-7"))) == set()
    change(world.engine.store, "INSERT INTO nodes (node, boot_id, pid_ns, lost_at) VALUES ('here', 'b', 1, now())")
    assert named(processes.look(world.engine, ANYTHING)) == set(), "a lost node ends it before it comes back"


def test_a_process_of_a_job_that_is_over_is_a_breach(world: World, children: Children) -> None:
    task = start(world.engine.store)
    child = owner_of(world, children.start().pid)
    change(
        world.engine.store,
        """INSERT INTO jobs (task_id, stage, visit, round, status, finished_at)
        VALUES (:t, 'analysis', 0, 7, 'finished', now())""",
        t=task.id,
    )
    change(
        world.engine.store,
        """INSERT INTO agent_runs (job_id, run_id, runtime, node, run_dir, owner_node, owner_boot_id, owner_pid_ns,
          owner_pid, owner_start_ticks) SELECT id, 'r-1', 'command', 'here', '/r', :node, :boot_id, :pid_ns, :pid,
          :start_ticks FROM jobs WHERE round = 7""",
        **{one: getattr(child, one) for one in child.__dataclass_fields__},
    )
    [breach] = processes.look(world.engine, ANYTHING).breaches
    assert breach.invariant == "I16" and "run r-1 of job" in breach.evidence and "lives" in breach.evidence
    children.end()
    assert named(processes.look(world.engine, ANYTHING)) == set()


# --- deliveries and texts on disk ------------------------------------------------------------------------------


def test_a_delivery_that_stays_in_the_spool_is_a_breach(world: World) -> None:
    where = world.settings.data_dir / "spool"
    where.mkdir(parents=True, exist_ok=True)
    (where / f"{time.time_ns():020}-new.json").write_text("{}")
    (where / "notes.txt").write_text("not a delivery")
    assert spool.look(world.engine, 3600.0) == Seen()
    old = where / f"{time.time_ns() - 7200 * 10**9:020}-old.unreadable"
    old.write_text("{}")
    [breach] = spool.look(world.engine, 3600.0).breaches
    assert breach.invariant == "I17" and old.name in breach.evidence


def test_a_secret_in_what_a_run_wrote_is_a_breach_also_where_two_blocks_meet(tmp_path: Path) -> None:
    output = tmp_path / "r-1" / "deep" / "stdout.log"
    output.parent.mkdir(parents=True)
    half = SECRET[: len(SECRET) // 2]
    output.write_text("x" * (texts._BLOCK - len(half)) + "y" * len(SECRET))
    assert texts.written(tmp_path, {"ORCH_A": SECRET}) == Seen()
    output.write_text("x" * (texts._BLOCK - len(half)) + SECRET)
    [breach] = texts.written(tmp_path, {"ORCH_A": SECRET, "ORCH_B": "another-4711"}).breaches
    assert (breach.invariant, breach.evidence) == ("I18", "r-1/deep/stdout.log holds ORCH_A")


def test_a_plain_word_is_not_searched_for_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "stdout.log").write_text("postgres short-1")
    secrets = {"ORCH_A": "postgres", "ORCH_B": "short-1"}
    assert texts.written(tmp_path, secrets) == Seen()
    assert [one.partition(" for ")[2].partition(",")[0] for one in texts.not_searched(secrets)] == ["ORCH_A", "ORCH_B"]


def test_a_stored_secret_is_named_by_its_variable_and_never_shown(
    orch: Orch, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_API_TOKEN", SECRET)
    start(world.engine.store)
    assert orch("verify").code == exits.DONE
    change(world.engine.store, "UPDATE events SET detail = jsonb_build_object('why', CAST(:s AS text))", s=SECRET)
    answer = orch("verify")
    assert answer.code == exits.FAILED
    assert "I18 DEMO-1: event 1 holds ORCH_API_TOKEN" in answer.out
    assert SECRET not in answer.out + answer.err


# --- environments ----------------------------------------------------------------------------------------------


@dataclass
class Answers:
    """An environment that answers with one version."""

    version: str | None

    def observe(self, spec: object) -> Observation:
        return Observation(self.version, healthy=True, detail="")


def deployed(world: World, sha: str, status: str = "succeeded") -> None:
    change(
        world.engine.store,
        """INSERT INTO deployments (project, environment, task_id, visit, sha, status, finished_at)
        SELECT 'DEMO', 'production', id, (SELECT count(*) FROM deployments), :sha, :status, clock_timestamp()
        FROM tasks""",
        sha=sha,
        status=status,
    )


def test_another_version_than_the_last_that_landed_is_a_breach(world: World, tmp_path: Path) -> None:
    start(world.engine.store)
    work = tmp_path / "person"
    git(tmp_path, "clone", "-q", str(world.repository), str(work))
    config = work / ".orchestrator.yml"
    deploys = "deploys:\n  production: {command: ['true'], health_url: 'http://127.0.0.1:1/'}\n"
    config.write_text(config.read_text() + deploys)
    git(work, "commit", "-qam", "An environment")
    git(work, "push", "-q", "origin", "HEAD:main")
    ports = world.engine.project("DEMO")

    def look(version: str | None) -> Seen:
        answering = replace(ports, deployer=Answers(version))  # type: ignore[arg-type]  # only asked for what answers
        return environments.look(replace(world.engine, project=lambda _key: answering), "DEMO")

    assert look("new") == Seen(), "nothing was deployed yet"
    deployed(world, "old")
    deployed(world, "new")
    assert (look("new"), look(None)) == (Seen(), Seen())
    [breach] = look("old").breaches
    assert breach.invariant == "I14" and "old answers in production, and deployment 2 of new" in breach.evidence
    deployed(world, "newer", "failed")
    assert look("old") == Seen(), "what a failed deployment left there nobody knows"


# --- git ---------------------------------------------------------------------------------------------------------


def test_only_the_last_line_of_a_message_names_a_lane_merge() -> None:
    assert merge_of("Merge X\n\nOrchestrator-Effect: 7/5/merge_pr\n") == (7, 5)
    assert merge_of("Orchestrator-Effect: 7/5/merge_pr\n\nsomething else") is None


@pytest.mark.timeout(600)
def test_verify_is_silent_after_an_item_went_to_done_and_sees_what_git_and_the_ledger_say_differently(
    orch: Orch, world: World, tmp_path: Path
) -> None:
    item = intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    world.run_until(lambda: world.stage(item) == "done", timeout_s=400.0)
    good = orch("verify", "--json")
    assert (good.code, good.data["breaches"], good.data["landings"]) == (exits.DONE, [], 1)
    assert "checks of rows" in good.err

    merged = world.git("rev-parse", "main")
    change(world.engine.store, "UPDATE effects SET status = 'revoked' WHERE kind = 'merge_pr'")
    revoked = git_audit.look(world.engine, "DEMO", ANYTHING)
    assert any("was revoked at" in one.evidence for one in revoked.breaches if one.invariant == "I2")
    change(world.engine.store, "UPDATE effects SET status = 'confirmed' WHERE kind = 'merge_pr'")
    other_tree = """UPDATE effects SET request = request || '{"tree": "f00"}' WHERE kind = 'merge_pr'"""
    change(world.engine.store, other_tree)
    [breach] = git_audit.look(world.engine, "DEMO", ANYTHING).breaches
    assert breach.invariant == "I2" and "than the tested one" in breach.evidence

    land_again(world, tmp_path)
    never = json.dumps({"merge_sha": "0" * 40})
    change(world.engine.store, "UPDATE effects SET result = CAST(:r AS jsonb) WHERE kind = 'merge_pr'", r=never)
    world.git("branch", f"orch/{item}", merged)
    world.engine.project("DEMO").workspaces.prepare(f"orch/{item}")
    bad = orch("verify", "--item", item)
    assert bad.code == exits.FAILED
    assert f"I1 {item}: visit 5 was merged 2 times" in bad.out
    assert "is on the base branch without a claim" in bad.out
    assert "is nowhere to be found" in bad.out
    assert f"its branch orch/{item} is still at the forge" in bad.out
    assert f"its worktree orch/{item} is still on this node" in bad.out
    assert "breaches" in bad.out.splitlines()[-1]
    assert "looking again after a sweep" in bad.err
    assert "0 breaches" in orch("verify", "--item", "DEMO-7").out


def land_again(world: World, tmp_path: Path) -> None:
    """Merge a second time what says that it is the same merge."""
    work, message = tmp_path / "second", world.git("log", "-1", "--format=%B", "main")
    git(tmp_path, "clone", "-q", str(world.repository), str(work))
    git(work, "checkout", "-q", "-b", "side")
    git(work, "commit", "-q", "--allow-empty", "-m", "side")
    git(work, "checkout", "-q", "main")
    git(work, "merge", "-q", "--no-ff", "side", "-m", message)
    git(work, "push", "-q", "origin", "main")


def test_a_repository_that_cannot_be_read_is_told_and_not_taken_for_good(
    orch: Orch, world: World, tmp_path: Path
) -> None:
    intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    world.repository.rename(tmp_path / "moved.git")
    answer = orch("verify", "--json")
    assert answer.code == exits.FAILED
    assert str(world.repository) in answer.err
    assert answer.data["unread"][0].startswith("DEMO:")


# --- a live system -------------------------------------------------------------------------------------------------


@dataclass
class SweepInstead:
    """A clock whose sleep is the time in which the fleet does something."""

    sweep: Callable[[], None]
    slept_s: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        self.sweep()


def test_what_a_sweep_mends_is_no_breach_and_what_it_does_not_is_one(world: World) -> None:
    task = start(world.engine.store)
    hold(world, task.id, OTHERS)

    def recover() -> None:
        with world.engine.store.transaction() as connection:
            assert leases.recover_on_startup(connection, world.engine.host) == [task.id]

    idle, recovering = SweepInstead(lambda: None), SweepInstead(recover)
    [breach] = audit(replace(world.engine, clock=idle)).breaches
    assert breach.invariant == "I15"
    assert idle.slept_s > world.engine.timings.reaper_interval_s
    assert audit(replace(world.engine, clock=recovering)).breaches == ()
    clean = SweepInstead(lambda: None)
    assert audit(replace(world.engine, clock=clean)).breaches == ()
    assert clean.slept_s == 0


@pytest.mark.parametrize(("since", "tasks"), [("7d", 1), ("2020-01-01", 1), ("2999-01-01T08:00", 0)])
def test_since_takes_a_span_or_a_time(orch: Orch, world: World, since: str, tasks: int) -> None:
    task = start(world.engine.store)
    change(world.engine.store, "UPDATE tasks SET stage = 'done', stage_seq = 0 WHERE id = :t", t=task.id)
    assert orch("verify", "--since", since, "--json").data["tasks"] == tasks
    assert orch("verify", "--since", "soon").code == exits.WRONG_USE
