"""Every agent CLI, played by a fake binary that may misbehave, through the real shim to the right outcome."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from orchestrator.adapters import procfs, verdict_files
from orchestrator.adapters.agent_runs import LocalAgentRuns
from orchestrator.adapters.agents import built_in_clis
from orchestrator.adapters.host import LinuxHost
from orchestrator.adapters.run_directory import marker_of
from orchestrator.adapters.shim_agent import adopt_orphans
from orchestrator.domain.configuration import AgentSpec, Sandbox
from orchestrator.domain.run_reports import RunReport, outcome_of
from orchestrator.domain.runs import RunExit
from orchestrator.domain.stages import Stage
from orchestrator.domain.verdicts import Verdict
from orchestrator.domain.views import Outcome
from orchestrator.ports import AgentRequest
from tests.adapters.agents.recorded import recordings
from tests.processes import until

CLI: Final = Path(__file__).parent / "fake_cli.py"
SUCCESS: Final = {"claude": "success", "codex": "success", "gemini": "success-stream", "opencode": "success"}
AUTH: Final = {"claude": "not-logged-in", "codex": "no-key", "gemini": "bad-key-400", "opencode": "bad-key-401"}
EACH = pytest.mark.parametrize("cli", list(SUCCESS))


class Theatre:
    """A base directory and a worktree; plays recordings in it."""

    def __init__(self, directory: Path) -> None:
        adopt_orphans()
        self.directory, self.worktree = directory, directory / "worktree"
        self.worktree.mkdir()
        self.runs = LocalAgentRuns(directory / "runs", host=LinuxHost("here"), clis=built_in_clis())
        self.requests: list[AgentRequest] = []

    def play(
        self, cli: str, case: str, manners: str = "", *, session: str | None = None, **spec: object
    ) -> AgentRequest:
        recording = recordings(cli)[case]
        play = self.directory / f"{cli}-{case}.json"
        play.write_text(
            json.dumps({"stdout": recording.stdout, "stderr": recording.stderr, "exit": recording.code}), "utf-8"
        )
        plain = AgentSpec(
            runtime=cli,
            command=(sys.executable, "-I", "-S", str(CLI)),
            environment={"FAKE_PLAY": str(play), "FAKE_MANNERS": manners},
            sandbox=Sandbox.OFF,
        )
        run_id = uuid.uuid4().hex
        request = AgentRequest(
            run_id=run_id,
            run_dir=self.directory / "runs" / run_id,
            worktree=self.worktree,
            prompt="Do it.\n" * 60_000,
            spec=replace(plain, **spec),  # type: ignore[arg-type]  # its values
            stage=Stage.DEVELOPMENT,
            session_id=session,
        )
        self.requests.append(request)
        self.runs.start(request)
        return request

    def ended(self, request: AgentRequest) -> RunExit:
        return until(lambda: self.runs.exit_record(request.run_dir), 60) or pytest.fail("it has not ended")

    def outcome(self, request: AgentRequest) -> tuple[Outcome, RunExit, RunReport]:
        ended = self.ended(request)
        report = self.runs.report(request.run_dir, request.spec.runtime)
        found = verdict_files.read(request.worktree, request.run_id)
        return outcome_of(ended, report, has_verdict=isinstance(found, Verdict)), ended, report

    def left(self, request: AgentRequest) -> list[procfs.Process]:
        return procfs.strays(procfs.Traces(marker_of(request.run_id)))

    def end(self) -> None:
        for request in self.requests:
            procfs.sweep(procfs.Traces(marker_of(request.run_id)), 5.0)


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Theatre]:
    made = Theatre(tmp_path)
    yield made
    made.end()


@EACH
def test_a_run_that_does_its_work_has_a_verdict_session_and_tokens(theatre: Theatre, cli: str) -> None:
    request = theatre.play(cli, SUCCESS[cli], "files-verdict")
    outcome, _, report = theatre.outcome(request)
    assert outcome is Outcome.VERDICT
    assert (bool(report.session_id), report.usage.tokens_in) == (True, 1000)
    seen = (theatre.worktree / "prompt-seen.txt").read_text()
    assert seen == request.prompt, "the whole prompt comes on stdin, which is closed behind it"


@EACH
def test_a_run_that_forgot_its_verdict_has_none(theatre: Theatre, cli: str) -> None:
    assert theatre.outcome(theatre.play(cli, SUCCESS[cli]))[0] is Outcome.NO_VERDICT


@EACH
def test_an_error_with_exit_code_zero_is_an_error(theatre: Theatre, cli: str) -> None:
    outcome, ended, _ = theatre.outcome(theatre.play(cli, AUTH[cli], "exits-0"))
    assert (outcome, ended.exit_code) == (Outcome.AUTH, 0)


@EACH
def test_an_agent_that_waits_for_ever_is_ended_by_the_clock_on_silence(theatre: Theatre, cli: str) -> None:
    outcome, ended, _ = theatre.outcome(theatre.play(cli, SUCCESS[cli], "hangs-on-stdin", silence_s=1))
    assert (outcome, ended.reason) == (Outcome.SILENT, "silent")


@EACH
def test_a_flood_is_cut_and_its_last_event_is_still_read(theatre: Theatre, cli: str) -> None:
    request = theatre.play(cli, SUCCESS[cli], "floods,files-verdict")
    outcome, _, report = theatre.outcome(request)
    assert (outcome, report.ended) == (Outcome.VERDICT, None)
    assert report.usage.tokens_out == 20
    assert (request.run_dir / "stdout.log").stat().st_size < 18 * 1024 * 1024


@EACH
@pytest.mark.parametrize("manners", ["leaves-background", "double-forks"])
def test_what_it_leaves_behind_is_ended_and_counted(theatre: Theatre, cli: str, manners: str) -> None:
    request = theatre.play(cli, SUCCESS[cli], f"{manners},files-verdict")
    outcome, ended, _ = theatre.outcome(request)
    assert (outcome, ended.reason, theatre.left(request)) == (Outcome.VERDICT, "exited", [])
    assert ended.strays >= 1


@EACH
def test_an_agent_that_ignores_the_request_to_end_is_ended_all_the_same(theatre: Theatre, cli: str) -> None:
    request = theatre.play(cli, SUCCESS[cli], "ignores-sigterm,stays")
    until((theatre.worktree / "prompt-seen.txt").exists, 30)
    assert theatre.runs.stop(request.run_dir, 0.5)
    outcome, _, _ = theatre.outcome(request)
    assert (outcome, theatre.left(request)) == (Outcome.STOPPED, [])


def test_a_verdict_that_a_stray_would_write_later_is_never_written(theatre: Theatre) -> None:
    request = theatre.play("claude", "success", "double-forks,verdict-late")
    until((theatre.worktree / "daemon.pid").exists, 30)
    outcome, _, _ = theatre.outcome(request)
    assert (outcome, theatre.left(request)) == (Outcome.NO_VERDICT, [])
    assert not (theatre.worktree / ".orchestrator" / "verdict.json").exists()


def test_of_two_verdicts_the_last_one_counts(theatre: Theatre) -> None:
    request = theatre.play("codex", "success", "files-verdict-twice")
    assert theatre.outcome(request)[0] is Outcome.VERDICT
    found = verdict_files.read(theatre.worktree, request.run_id)
    assert isinstance(found, Verdict)
    assert found.summary == "second"


def test_a_verdict_filed_before_the_end_counts_although_the_run_was_stopped(theatre: Theatre) -> None:
    request = theatre.play("gemini", "success-stream", "files-verdict,stays")
    until((theatre.worktree / ".orchestrator" / "verdict.json").exists, 30)
    theatre.runs.stop(request.run_dir, 5)
    assert theatre.outcome(request)[0] is Outcome.VERDICT


def test_a_run_that_reached_its_budget_is_ended_with_the_figure(theatre: Theatre) -> None:
    request = theatre.play("opencode", "success", "stays")
    until(lambda: theatre.runs.so_far(request.run_dir, "opencode").usage.cost_usd, 30)
    theatre.runs.stop(request.run_dir, 5, over_budget="2 of 1 US dollars of this run are used")
    outcome, ended, _ = theatre.outcome(request)
    assert (outcome, ended.detail) == (Outcome.BUDGET, "2 of 1 US dollars of this run are used")


@EACH
def test_a_session_that_is_known_is_gone_on_with(theatre: Theatre, cli: str) -> None:
    request = theatre.play(cli, SUCCESS[cli], session="11111111-1111-4111-8111-111111111111")
    theatre.ended(request)
    argv = json.loads((theatre.worktree / "argv.json").read_text())
    assert argv[argv.index("11111111-1111-4111-8111-111111111111") - 1] in ("--resume", "resume", "-s")


@EACH
def test_no_prompt_and_no_secret_stands_in_its_arguments(theatre: Theatre, cli: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-very-secret-key")
    request = theatre.play(cli, SUCCESS[cli], credentials={"ANY_KEY": str(tmp_path / "key")}, model="m-1")
    theatre.ended(request)
    argv = (theatre.worktree / "argv.json").read_text()
    assert "Do it." not in argv
    assert "sk-very-secret-key" not in argv
    assert "m-1" in argv
