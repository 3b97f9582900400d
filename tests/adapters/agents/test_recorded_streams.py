"""What real CLIs printed, case by case, is read to the right outcome."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest

from orchestrator.adapters.agents import built_in_clis
from orchestrator.adapters.agents.codex import reset_at
from orchestrator.domain.run_reports import RunReport, outcome_of
from orchestrator.domain.views import Outcome
from tests.adapters.agents.recorded import Recording, recordings

EXPECTED: Final[dict[str, dict[str, Outcome | None]]] = {
    "claude": {
        "not-logged-in": Outcome.AUTH,
        "success": None,
        "bad-key-401": Outcome.AUTH,
        "rate-limit-429": Outcome.RATE_LIMITED,
        "rate-limit-429-no-retry": Outcome.RATE_LIMITED,
        "credit-400": Outcome.QUOTA,
        "overloaded-529": Outcome.OVERLOADED,
        "prompt-too-long-413": Outcome.CONTEXT_FULL,
        "max-turns": Outcome.TURN_LIMIT,
        "max-budget": Outcome.BUDGET,
        "permission-denied": None,
        "json-schema-met": None,
        "json-schema-not-met": None,
        "json-schema-retries-used-up": Outcome.INTERRUPTED,
        "json-schema-2020-12-refused": Outcome.BAD_START,
        "resume-unknown-json": Outcome.BAD_START,
        "resume-unknown-stream": Outcome.BAD_START,
        "session-id-in-use": Outcome.BAD_START,
        "resume-ok": None,
        "mcp-server-failed": None,
        "root-bypass": Outcome.BAD_START,
        "sigint": Outcome.INTERRUPTED,
        "sigterm": Outcome.INTERRUPTED,
        "sigterm-in-tool": Outcome.INTERRUPTED,
        "stop-hook-exit-2": None,
        "real-no-login": Outcome.AUTH,
    },
    "codex": {
        "no-login-no-network": Outcome.OVERLOADED,
        "success": None,
        "no-key": Outcome.AUTH,
        "bad-key-401": Outcome.AUTH,
        "rate-limit-429": Outcome.RATE_LIMITED,
        "api-quota-429": Outcome.QUOTA,
        "plan-usage-limit-429": Outcome.QUOTA,
        "response-failed-rate-limit": Outcome.RATE_LIMITED,
        "resume-unknown": Outcome.BAD_START,
        "resume-ok": None,
        "schema-met": None,
        "schema-not-met": None,
        "not-a-git-repo": Outcome.BAD_START,
        "unknown-flag": Outcome.BAD_START,
        "sandbox-in-worktree": None,
        "sigterm-in-tool": Outcome.INTERRUPTED,
        "sigint-in-tool": Outcome.INTERRUPTED,
        "stdin-left-open": Outcome.BAD_START,
        "real-no-login-network-away": Outcome.OVERLOADED,
        "real-no-login-401": Outcome.AUTH,
    },
    "gemini": {
        "no-auth-json": Outcome.AUTH,
        "no-auth-stream": Outcome.AUTH,
        "untrusted-folder": Outcome.BAD_START,
        "success-stream": None,
        "bad-key-400": Outcome.AUTH,
        "quota-429": Outcome.QUOTA,
        "max-turns": Outcome.TURN_LIMIT,
        "resume-unknown": Outcome.BAD_START,
        "yolo-tool": None,
        "sigterm-group": Outcome.INTERRUPTED,
        "real-no-login": Outcome.AUTH,
    },
    "opencode": {
        "success": None,
        "no-network": Outcome.OVERLOADED,
        "bad-key-401": Outcome.AUTH,
        "rate-limit-429": Outcome.RATE_LIMITED,
        "quota-429": Outcome.BAD_START,
        "permission-rejected": None,
        "resume-unknown": Outcome.BAD_START,
        "unknown-model": Outcome.BAD_START,
        "real-no-login-network-away": Outcome.OVERLOADED,
        "real-no-login-unknown-provider": Outcome.BAD_START,
        "real-no-login-401": Outcome.AUTH,
    },
}
"""None: the run came to its own end. What begins with "real-" was recorded by ``real_clis``, through runner and shim.
OpenCode's silent quota prints nothing; the clock on silence names it."""

NOT_OUR_FORMAT: Final = {("gemini", "success-json")}
"""One object in place of a stream; the orchestrator never asks for that."""

ALL: Final = [(cli, case) for cli in EXPECTED for case in recordings(cli) if (cli, case) not in NOT_OUR_FORMAT]


def report_of(recording: Recording, directory: Path) -> RunReport:
    return built_in_clis()[recording.cli].read(recording.lay_out(directory))


@pytest.mark.parametrize(("cli", "case"), ALL)
def test_a_recorded_run_is_read_to_its_ending(cli: str, case: str, tmp_path: Path) -> None:
    recording = recordings(cli)[case]
    report = report_of(recording, tmp_path)
    assert report.ended is EXPECTED[cli][case], report
    if report.ended not in (None, Outcome.INTERRUPTED) and recording.stderr:
        assert report.detail, "whoever looks for the cause finds words"


@pytest.mark.parametrize("cli", list(EXPECTED))
def test_a_run_that_came_to_its_end_tells_session_and_tokens(cli: str, tmp_path: Path) -> None:
    case = "success-stream" if cli == "gemini" else "success"
    report = report_of(recordings(cli)[case], tmp_path)
    assert report.session_id
    assert (report.usage.tokens_in, report.usage.tokens_out) == (1000, 20)


def test_what_a_cli_does_not_tell_is_unmeasured_and_not_zero(tmp_path: Path) -> None:
    assert report_of(recordings("codex")["success"], tmp_path).usage.cost_usd is None
    assert report_of(recordings("gemini")["success-stream"], tmp_path).usage.cost_usd is None
    failed = report_of(recordings("codex")["bad-key-401"], tmp_path).usage
    assert (failed.tokens_in, failed.tokens_out) == (None, None)


def test_a_cost_that_is_told_is_read_to_the_last_digit(tmp_path: Path) -> None:
    assert report_of(recordings("claude")["success"], tmp_path).usage.cost_usd == Decimal("0.0044")
    assert report_of(recordings("opencode")["success"], tmp_path).usage.cost_usd == Decimal("0.00104")


def test_totals_of_a_resumed_session_are_differences(tmp_path: Path) -> None:
    first = report_of(recordings("claude")["success"], tmp_path)
    second = report_of(recordings("claude")["resume-ok"], tmp_path)
    assert second.usage_of_session
    assert second.usage.since(first.usage).cost_usd == Decimal("0.0044")
    assert second.usage.since(first.usage).tokens_in == 1000
    assert report_of(recordings("codex")["resume-ok"], tmp_path).usage_of_session


def test_a_refused_tool_is_listed_and_fails_nothing(tmp_path: Path) -> None:
    assert report_of(recordings("claude")["permission-denied"], tmp_path).refused == ("Write",)
    assert report_of(recordings("opencode")["permission-rejected"], tmp_path).refused == ("bash",)


def test_the_words_of_a_model_are_never_taken_for_an_error(tmp_path: Path) -> None:
    words = "You've hit your usage limit. 429 Too Many Requests. Not logged in. Please set an Auth method. rate limit"
    said: dict[str, tuple[object, ...]] = {
        "claude": ({"type": "assistant", "message": {"content": [{"type": "text", "text": words}]}},),
        "codex": ({"type": "item.completed", "item": {"type": "agent_message", "text": words}},),
        "gemini": ({"type": "message", "role": "assistant", "content": words},),
        "opencode": ({"type": "text", "sessionID": "s", "part": {"text": words}},),
    }
    for cli, extra in said.items():
        done = recordings(cli)["success-stream" if cli == "gemini" else "success"]
        recording = Recording(cli, "", "", 0, (*done.stdout[:-1], *extra, done.stdout[-1]), "")
        assert report_of(recording, tmp_path).ended is None, cli


def test_a_line_that_is_no_event_is_counted_and_skipped(tmp_path: Path) -> None:
    done = recordings("claude")["success"]
    broken = Recording("claude", "", "", 0, ('{"type": "ass{"type"', "plain words", *done.stdout, "[1]"), "")
    report = report_of(broken, tmp_path)
    assert (report.ended, report.unread) == (None, 3)


def test_a_line_beyond_every_measure_is_skipped_and_the_end_is_still_read(tmp_path: Path) -> None:
    done = recordings("claude")["success"]
    huge = '{"type": "user", "message": "' + "x" * (11 * 1024 * 1024) + '"}'
    report = report_of(Recording("claude", "", "", 0, (huge, *done.stdout), ""), tmp_path)
    assert (report.ended, report.unread) == (None, 1)


def test_a_good_result_stays_good_when_the_process_was_ended_after_it(tmp_path: Path) -> None:
    done = recordings("claude")["success"]
    assert report_of(Recording("claude", "", "", 143, done.stdout, ""), tmp_path).ended is None


def test_the_last_result_counts_when_a_background_command_woke_the_model(tmp_path: Path) -> None:
    done, failed = recordings("claude")["success"], recordings("claude")["overloaded-529"]
    report = report_of(Recording("claude", "", "", 1, (*done.stdout, *failed.stdout), ""), tmp_path)
    assert report.ended is Outcome.OVERLOADED


def limits(status: str) -> dict[str, object]:
    return {"type": "rate_limit_event", "rate_limit_info": {"status": status, "resetsAt": 1_795_600_000}}


def test_a_warning_about_limits_is_no_quota_and_a_rejection_names_its_reset(tmp_path: Path) -> None:
    done, failed = recordings("claude")["success"], recordings("claude")["rate-limit-429"]
    warned = Recording("claude", "", "", 0, (limits("allowed_warning"), *done.stdout), "")
    assert report_of(warned, tmp_path).ended is None
    report = report_of(Recording("claude", "", "", 1, (limits("rejected"), *failed.stdout), ""), tmp_path)
    assert report.ended is Outcome.QUOTA
    assert report.reset_at == datetime.fromtimestamp(1_795_600_000, UTC)


def test_a_reset_without_a_date_is_the_next_such_moment_here() -> None:
    now = datetime(2026, 11, 24, 12, 0).astimezone()
    later, tomorrow = reset_at("or try again at 6:37 PM.", now), reset_at("try again at 9:05 AM.", now)
    assert later == now.replace(hour=18, minute=37)
    assert tomorrow is not None
    assert (tomorrow.astimezone().day, tomorrow.astimezone().hour) == (25, 9)
    assert reset_at("try again later", now) is None


# --- what follows from stream, end and verdict together


def test_a_verdict_of_this_run_counts_however_the_run_was_ended(tmp_path: Path) -> None:
    recording = recordings("claude")["max-budget"]
    report = report_of(recording, tmp_path)
    for reason in ("exited", "stopped", "timed-out", "silent"):
        assert outcome_of(recording.exit(reason), report, has_verdict=True) is Outcome.VERDICT
    assert outcome_of(recording.exit(), report, has_verdict=False) is Outcome.BUDGET


def test_a_silent_wait_for_the_network_is_named_by_what_the_stream_said(tmp_path: Path) -> None:
    waiting = recordings("codex")["no-login-no-network"]
    assert outcome_of(waiting.exit("silent"), report_of(waiting, tmp_path), has_verdict=False) is Outcome.OVERLOADED
    quiet = recordings("opencode")["quota-429"]
    assert outcome_of(quiet.exit("silent"), report_of(quiet, tmp_path), has_verdict=False) is Outcome.SILENT


def test_a_wait_for_the_network_that_is_told_again_and_again_is_named_when_the_wall_clock_ends_it(
    tmp_path: Path,
) -> None:
    waiting = recordings("codex")["real-no-login-network-away"]
    report = report_of(waiting, tmp_path)
    assert outcome_of(waiting.exit("timed-out"), report, has_verdict=False) is Outcome.OVERLOADED
    working = report_of(recordings("gemini")["sigterm-group"], tmp_path)
    assert outcome_of(waiting.exit("timed-out"), working, has_verdict=False) is Outcome.TIMED_OUT


def test_a_trouble_that_passed_is_not_why_a_later_run_was_cut(tmp_path: Path) -> None:
    waiting, cut = recordings("codex")["no-login-no-network"], recordings("codex")["sigterm-in-tool"]
    worked_on = Recording("codex", "", "", -15, (*waiting.stdout, *cut.stdout[2:]), "")
    report = report_of(worked_on, tmp_path)
    assert report.ended is Outcome.INTERRUPTED
    assert outcome_of(worked_on.exit("timed-out"), report, has_verdict=False) is Outcome.TIMED_OUT


def test_opencode_that_says_nothing_of_a_missing_login_is_explained(tmp_path: Path) -> None:
    report = report_of(recordings("opencode")["real-no-login-unknown-provider"], tmp_path)
    assert "has no login" in report.detail


def test_exit_code_zero_without_a_last_event_is_no_success(tmp_path: Path) -> None:
    cut = recordings("gemini")["sigterm-group"]
    assert cut.code == 0
    assert outcome_of(cut.exit(), report_of(cut, tmp_path), has_verdict=False) is Outcome.INTERRUPTED


def test_an_agent_that_was_killed_by_somebody_else_is_killed(tmp_path: Path) -> None:
    cut = recordings("codex")["sigterm-in-tool"]
    killed = Recording("codex", "", "", -9, cut.stdout, "")
    assert outcome_of(killed.exit(), report_of(killed, tmp_path), has_verdict=False) is Outcome.KILLED
