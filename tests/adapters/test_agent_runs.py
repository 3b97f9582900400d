"""Runs started, adopted, stopped and found again through the port, over real shims and agents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import billiard
import pytest

from orchestrator.adapters import agent_runs, procfs
from orchestrator.adapters.agent_runs import LocalAgentRuns
from orchestrator.adapters.agents.command import CommandAgent
from orchestrator.adapters.agents.environment import GIT_CUT_OFF
from orchestrator.adapters.host import LinuxHost
from orchestrator.adapters.run_directory import marker_of
from orchestrator.domain.configuration import AgentSpec, Sandbox
from orchestrator.domain.errors import ConfigurationError, PermanentError, TransientError, UsageError
from orchestrator.domain.ownership import Liveness, Owner
from orchestrator.ports import AgentRequest, AgentRuns
from tests.adapters.agent_bench import Bench
from tests.adapters.agent_processes import DAEMON, pid_in, sleeper
from tests.processes import NAP, Children, is_running, until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.end()


def running_agents(request: AgentRequest) -> list[procfs.Process]:
    return procfs.strays(procfs.Traces(marker_of(request.run_id)))


def kill_shim(owner: Owner) -> None:
    procfs.send(owner.pid, owner.start_ticks, signal.SIGKILL)
    until(lambda: procfs.has_ended(owner.pid, owner.start_ticks))


def test_it_is_the_port(bench: Bench) -> None:
    port: AgentRuns = bench.runs
    assert port


class TestStart:
    def test_the_shim_is_alive_and_nobodys_child(self, bench: Bench) -> None:
        owner = bench.runs.start(bench.request())
        assert LinuxHost("here").liveness(owner) is Liveness.ALIVE
        assert bench.runs.is_running(bench.base / owner_run(bench, owner))

    def test_the_exit_is_recorded_and_listed_until_it_is_acknowledged(self, bench: Bench) -> None:
        request = bench.request("import sys; print(sys.stdin.read()); sys.exit(3)", prompt="hällo")
        bench.runs.start(request)
        ended = bench.ended(request)
        assert (ended.exit_code, ended.signal, ended.reason) == (3, None, "exited")
        assert ended.ended_at.tzinfo is not None
        assert bench.runs.output_tail(request.run_dir, 100) == "hällo\n"
        assert list(bench.fresh().finished()) == [request.run_dir]
        bench.runs.acknowledge(request.run_dir)
        bench.runs.acknowledge(request.run_dir)
        assert list(bench.fresh().finished()) == []
        assert bench.runs.exit_record(request.run_dir) == ended

    def test_a_run_that_goes_on_is_not_listed(self, bench: Bench) -> None:
        bench.runs.start(bench.request())
        assert list(bench.runs.finished()) == []

    def test_before_the_first_run_there_is_nothing_to_list(self, bench: Bench) -> None:
        assert list(bench.runs.finished()) == []

    def test_starting_again_finds_the_run_that_is_there(self, bench: Bench) -> None:
        request = bench.request()
        owner = bench.runs.start(request)
        assert bench.fresh().start(request) == owner
        assert len(running_agents(request)) == 1

    def test_starting_again_after_the_end_starts_nothing(self, bench: Bench) -> None:
        request = bench.request("open('count', 'a').write('x')")
        owner = bench.runs.start(request)
        bench.ended(request)
        assert bench.runs.start(request) == owner
        assert (bench.worktree / "count").read_text() == "x"

    def test_eight_starts_at_once_make_one_agent(self, bench: Bench) -> None:
        request = bench.request(f"open('count', 'a').write('x'); {NAP}")
        owners: list[Owner] = []
        threads = [threading.Thread(target=lambda: owners.append(bench.fresh().start(request))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(owners) == 8
        assert len(set(owners)) == 1
        until((bench.worktree / "count").exists)
        assert (bench.worktree / "count").read_text() == "x"

    def test_the_run_outlives_a_starter_that_is_killed_and_is_adopted(self, bench: Bench) -> None:
        request = bench.request("import sys, time; time.sleep(0.3); sys.exit(5)")
        reader, writer = os.pipe()
        starter = os.fork()
        if starter == 0:
            bench.runs.start(request)
            os.write(writer, b"x")
            time.sleep(60)
            os._exit(1)
        os.read(reader, 1)
        os.kill(starter, signal.SIGKILL)
        os.waitpid(starter, 0)
        adopted = bench.fresh()
        owner = adopted.owner(request.run_dir)
        assert owner
        assert LinuxHost("here").liveness(owner) is Liveness.ALIVE
        assert adopted.start(request) == owner
        assert bench.ended(request).exit_code == 5
        os.close(reader)
        os.close(writer)

    def test_a_celery_child_can_start_one_and_leaves_no_trace_in_it(self, bench: Bench) -> None:
        request = bench.request("import time; time.sleep(300)")
        child = billiard.Process(target=_start_with_interrupts_ignored, args=(bench.runs, request))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        status = Path(f"/proc/{bench.agent_pid(request)}/status").read_text()
        ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
        assert not int(ignored, 16) & 1 << (signal.SIGINT - 1)

    def test_a_leftover_verdict_is_deleted_before_the_agent_runs_but_never_under_it(self, bench: Bench) -> None:
        answer = bench.worktree / ".orchestrator" / "verdict.json"
        answer.parent.mkdir()
        answer.write_text("of an earlier run")
        request = bench.request(
            "import os, json, time\n"
            "assert not os.path.exists('.orchestrator/verdict.json')\n"
            "open('.orchestrator/verdict.json', 'w').write(json.load(open('.orchestrator/run.json'))['run_id'])\n"
            "time.sleep(300)"
        )
        bench.runs.start(request)
        until(lambda: answer.exists() and answer.read_text() == request.run_id)
        bench.fresh().start(request)
        assert answer.read_text() == request.run_id

    def test_a_program_that_cannot_be_executed_is_an_exit_record(self, bench: Bench) -> None:
        request = bench.request()
        object.__setattr__(request, "spec", AgentSpec(command=("no-such-agent",), sandbox=Sandbox.OFF))
        bench.runs.start(request)
        ended = bench.ended(request)
        assert ended.reason == "bad-start"
        assert "no-such-agent" in ended.detail

    def test_a_run_that_was_stopped_before_it_started_never_starts(self, bench: Bench) -> None:
        request = bench.request("open('ran', 'w')")
        request.run_dir.mkdir(parents=True)
        bench.runs.stop(request.run_dir, 1)
        with pytest.raises(PermanentError, match="was not started"):
            bench.runs.start(request)
        assert not (bench.worktree / "ran").exists()

    def test_a_shim_that_does_not_come_up_is_said_so_and_can_be_tried_again(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request = bench.request()
        slow = LocalAgentRuns(bench.base, host=LinuxHost("here"), clis={"command": CommandAgent()}, start_timeout_s=0.1)
        with monkeypatch.context() as patched:
            patched.setattr(agent_runs, "_spawn", lambda run_dir: 0)
            with pytest.raises(TransientError, match="did not come up"):
                slow.start(request)
            patched.setattr(agent_runs, "_spawn", lambda run_dir: 70)
            with pytest.raises(TransientError, match="left with 70"):
                slow.start(request)
        assert bench.runs.start(request)

    def test_a_directory_that_would_never_be_found_again_is_refused(self, bench: Bench, tmp_path: Path) -> None:
        request = bench.request()
        object.__setattr__(request, "run_dir", tmp_path / "elsewhere")
        with pytest.raises(UsageError, match="not a run directory"):
            bench.runs.start(request)

    def test_an_unknown_runtime_and_a_missing_command_are_configuration_errors(self, bench: Bench) -> None:
        for spec, named in (
            (
                AgentSpec(runtime="oracle", command=("x",)),
                "agents.development.runtime: is 'oracle', known here: command",
            ),
            (AgentSpec(), "agents.development.command: is missing"),
        ):
            request = bench.request()
            object.__setattr__(request, "spec", spec)
            with pytest.raises(ConfigurationError, match=named):
                bench.runs.start(request)


def owner_run(bench: Bench, owner: Owner) -> str:
    return next(one.name for one in bench.base.iterdir() if bench.runs.owner(one) == owner)


def _start_with_interrupts_ignored(runs: LocalAgentRuns, request: AgentRequest) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    owner = runs.start(request)
    parent = procfs.look(owner.pid)
    sys.exit(0 if parent and parent.ppid != os.getpid() and not procfs.children_of(os.getpid()) else 1)


class TestEnvironment:
    def test_an_agent_gets_this_and_nothing_else(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ORCH_GITEA_TOKEN", "secret")
        request = bench.request(
            "import json, os; print(json.dumps(dict(os.environ)))", environment={"LANG": "de_DE.UTF-8"}
        )
        bench.runs.start(request)
        bench.ended(request)
        got = json.loads(bench.runs.output_tail(request.run_dir, 10_000))
        got.pop("LC_CTYPE", None)  # Python's own, when it finds the C locale
        assert got == {
            "PATH": f"{request.run_dir}/bin:{os.defpath}",
            "HOME": f"{request.run_dir}/home",
            "TMPDIR": f"{request.run_dir}/tmp",
            "LANG": "de_DE.UTF-8",
            "TERM": "dumb",
            "ORCH_RUN_ID": request.run_id,
            **GIT_CUT_OFF,
        }

    def test_the_marker_cannot_be_replaced(self, bench: Bench) -> None:
        request = bench.request(environment={"ORCH_RUN_ID": "another"})
        bench.runs.start(request)
        assert running_agents(request)

    @pytest.mark.parametrize("name", ["ORCH_DATABASE_URL", "ORCH_API_TOKEN", "ORCH_PLANE_WEBHOOK_SECRET_FILE"])
    def test_secrets_of_the_orchestrator_are_refused_by_name(self, bench: Bench, name: str) -> None:
        with pytest.raises(ConfigurationError, match=f"agents.development.environment.{name}"):
            bench.runs.start(bench.request(environment={name: "x"}))

    def test_only_orch_itself_is_on_the_path(self, bench: Bench) -> None:
        request = bench.request()
        bench.runs.start(request)
        assert [one.name for one in (request.run_dir / "bin").iterdir()] == ["orch"]

    def test_git_asks_no_stored_password_and_no_other_machine(self, bench: Bench) -> None:
        request = bench.request(
            "import os; os.execvp('git', ['git', 'ls-remote', 'https://example.invalid/x.git'])", silence_s=10
        )
        bench.runs.start(request)
        assert bench.ended(request).exit_code == 128
        assert "transport 'https' not allowed" in bench.runs.output_tail(request.run_dir, 1000)

    def test_what_belongs_to_a_run_is_readable_by_its_user_only(self, bench: Bench) -> None:
        request = bench.request()
        bench.runs.start(request)
        assert request.run_dir.stat().st_mode & 0o077 == 0
        assert (request.run_dir / "request.json").stat().st_mode & 0o077 == 0


class TestStop:
    def test_the_proof_names_the_agent_and_its_strays(self, bench: Bench, tmp_path: Path) -> None:
        request = bench.request(f"{DAEMON}\ndaemon(dict(os.environ), {sleeper(tmp_path, 'stray')!r}); {NAP}")
        bench.runs.start(request)
        stray, agent = pid_in(tmp_path / "stray"), bench.agent_pid(request)
        proof = "\n".join(bench.fresh().stop(request.run_dir, 2))
        assert f"pid {stray} " in proof
        assert f"pid {agent} " in proof
        assert not running_agents(request)
        assert bench.ended(request).reason == "stopped"

    def test_it_is_quick_when_the_agent_obeys(self, bench: Bench) -> None:
        request = bench.request()
        bench.runs.start(request)
        started = time.monotonic()
        bench.runs.stop(request.run_dir, 60)
        assert time.monotonic() - started < 30

    def test_stopping_twice_gives_the_same_proof(self, bench: Bench) -> None:
        request = bench.request()
        bench.runs.start(request)
        assert bench.runs.stop(request.run_dir, 1) == bench.fresh().stop(request.run_dir, 1)

    def test_a_run_that_ended_by_itself_keeps_its_own_record(self, bench: Bench) -> None:
        request = bench.request("pass")
        bench.runs.start(request)
        bench.ended(request)
        assert len(bench.runs.stop(request.run_dir, 1)) == 1
        assert bench.ended(request).reason == "exited"

    def test_when_the_shim_was_killed_the_strays_are_ended_all_the_same(self, bench: Bench, tmp_path: Path) -> None:
        in_group, marked = sleeper(tmp_path, "in_group"), sleeper(tmp_path, "marked")
        request = bench.request(
            "import subprocess, sys, time\n"
            f"subprocess.Popen([sys.executable, '-c', {in_group!r}], env={{}})\n"
            f"subprocess.Popen([sys.executable, '-c', {marked!r}], start_new_session=True)\n"
            "time.sleep(300)"
        )
        owner = bench.runs.start(request)
        strays = [pid_in(tmp_path / "in_group"), pid_in(tmp_path / "marked")]
        kill_shim(owner)
        until(lambda: not is_running(bench.agent_pid(request)))
        assert all(is_running(pid) for pid in strays), "the trap: they outlive agent and shim"
        assert bench.runs.exit_record(request.run_dir) is None
        assert not bench.runs.is_running(request.run_dir)

        proof = "\n".join(bench.fresh().stop(request.run_dir, 1))
        assert not [pid for pid in strays if is_running(pid)]
        assert all(f"pid {pid} " in proof for pid in strays)
        assert (bench.ended(request).reason, bench.ended(request).strays) == ("stopped", 2)

    def test_a_shim_that_does_not_obey_is_killed(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(agent_runs, "_FINISH_S", 0.3)
        request = bench.request()
        owner = bench.runs.start(request)
        os.kill(owner.pid, signal.SIGSTOP)
        bench.runs.stop(request.run_dir, 0)
        assert procfs.has_ended(owner.pid, owner.start_ticks)
        until(lambda: not running_agents(request))

    def test_a_group_number_that_now_means_others_is_left_alone(self, bench: Bench) -> None:
        children = Children()
        innocent = children.start()
        request = bench.request()
        owner = bench.runs.start(request)
        kill_shim(owner)
        stored = json.loads((request.run_dir / "shim.json").read_text())
        seen = procfs.look(innocent.pid)
        assert seen
        stored |= {"agent_pgid": innocent.pid, "agent_start_ticks": seen.start_ticks - 1}
        (request.run_dir / "shim.json").write_text(json.dumps(stored))
        bench.runs.stop(request.run_dir, 1)
        assert is_running(innocent.pid)
        stored |= {"agent_start_ticks": seen.start_ticks, "boot_id": "an earlier one"}
        (request.run_dir / "shim.json").write_text(json.dumps(stored))
        (request.run_dir / "exit.json").unlink()
        bench.runs.stop(request.run_dir, 1)
        assert is_running(innocent.pid)
        children.end()

    def test_other_runs_go_on(self, bench: Bench) -> None:
        request, other = bench.request(), bench.request()
        bench.runs.start(request)
        bench.runs.start(other)
        bench.runs.stop(request.run_dir, 1)
        assert running_agents(other)


def test_the_tail_shows_the_end_of_both_outputs_within_the_limit(bench: Bench) -> None:
    request = bench.request("import sys; print('o' * 5000 + 'END'); sys.stderr.write('e' * 5000 + 'ERR')")
    bench.runs.start(request)
    bench.ended(request)
    tail = bench.runs.output_tail(request.run_dir, 300)
    assert len(tail) == 300
    assert "END" in tail
    assert tail.endswith("eERR")


def test_no_output_yet_is_an_empty_tail(bench: Bench) -> None:
    assert bench.runs.output_tail(bench.base / "none", 100) == ""
    assert bench.runs.owner(bench.base / "none") is None
    assert not bench.runs.is_running(bench.base / "none")


def test_a_damaged_record_is_named(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "exit.json").write_text("{")
    with pytest.raises(PermanentError, match=r"exit.json is damaged"):
        bench.runs.exit_record(tmp_path)


def test_an_agent_files_its_verdict_by_orch_on_its_path(bench: Bench) -> None:
    """With the entry point that the package installs; the rest of the channel is tested in tests/cli."""
    orch = Path(sys.executable).parent / "orch"
    if not orch.exists() or subprocess.run([orch, "verdict", "put", "--help"], capture_output=True).returncode:
        pytest.skip("the orch command is not installed here")
    request = bench.request(
        "import json, subprocess, sys\n"
        "run_id = json.load(open('.orchestrator/run.json'))['run_id']\n"
        "verdict = dict(schema='verdict/1', run_id=run_id, verdict='pass', summary='', findings=[], artifacts=[],\n"
        "               blocked_on=None)\n"
        "sys.exit(subprocess.run(['orch', 'verdict', 'put'], input=json.dumps(verdict).encode()).returncode)"
    )
    bench.runs.start(request)
    assert bench.ended(request).exit_code == 0, bench.runs.output_tail(request.run_dir, 2000)
    assert (bench.worktree / ".orchestrator" / "verdict.json").exists()
