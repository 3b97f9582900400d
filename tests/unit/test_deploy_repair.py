"""What the finalizer would do with a deployment that has not ended."""

from __future__ import annotations

import pytest

from orchestrator.domain.deploy_repair import (
    RELAUNCH_AFTER_S,
    CommandState,
    DeadDeploy,
    EndCommand,
    Finish,
    LaunchAgain,
    Leave,
    Look,
    Seen,
    TakeOver,
    UnfinishedDeploy,
    judge,
    repair,
    take_over,
)
from orchestrator.domain.ownership import Liveness
from orchestrator.domain.views import DeploymentStatus

REQUESTED, RUNNING = DeploymentStatus.REQUESTED, DeploymentStatus.RUNNING


def dead(*, running_s: float = 100.0, command: CommandState = CommandState.ENDED) -> DeadDeploy:
    return DeadDeploy("sha", running_s, command, timeout_s=600, health_timeout_s=60)


@pytest.mark.parametrize(
    ("launched_s", "is_next", "step"),
    [
        (None, True, LaunchAgain),
        (RELAUNCH_AFTER_S, True, LaunchAgain),
        (RELAUNCH_AFTER_S - 1, True, Leave),
        (None, False, Leave),
        (RELAUNCH_AFTER_S * 9, False, Leave),
    ],
)
def test_a_request_is_launched_when_its_turn_has_come_and_nobody_came_for_it(
    launched_s: float | None, is_next: bool, step: type
) -> None:
    assert isinstance(repair(UnfinishedDeploy(REQUESTED, is_next, launched_s, Liveness.UNKNOWN)), step)


@pytest.mark.parametrize(
    ("deployer", "step"), [(Liveness.ALIVE, Leave), (Liveness.UNKNOWN, Leave), (Liveness.DEAD, TakeOver)]
)
def test_only_a_deployer_that_is_proven_dead_is_taken_over_however_old_it_is(deployer: Liveness, step: type) -> None:
    assert isinstance(repair(UnfinishedDeploy(RUNNING, True, 1e9, deployer)), step)


@pytest.mark.parametrize("status", [status for status in DeploymentStatus if status not in (REQUESTED, RUNNING)])
def test_what_has_ended_is_left_alone(status: DeploymentStatus) -> None:
    assert isinstance(repair(UnfinishedDeploy(status, True, None, Liveness.DEAD)), Leave)


@pytest.mark.parametrize("command", [state for state in CommandState if state is not CommandState.RUNNING])
def test_without_a_running_command_the_look_comes_at_once(command: CommandState) -> None:
    assert take_over(dead(command=command)) == Look()


def test_a_running_command_is_waited_for_within_its_limit_and_then_ended() -> None:
    assert isinstance(take_over(dead(running_s=599, command=CommandState.RUNNING)), Leave)
    assert take_over(dead(running_s=600, command=CommandState.RUNNING)) == EndCommand()


def test_the_version_that_answers_and_is_healthy_has_landed() -> None:
    end = judge(dead(running_s=1), Seen("sha", True, "200"))
    assert isinstance(end, Finish)
    assert (end.landed, end.observed_sha) == (True, "sha")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen("sha", False, "503"), "sha answers, not healthy: 503"),
        (Seen("other", True, "200"), "other answers, healthy: 200"),
        (Seen(None, False, "refused"), "nothing answers, not healthy: refused"),
    ],
)
def test_anything_else_is_a_failure_that_says_what_was_seen(seen: Seen, words: str) -> None:
    end = judge(dead(), seen)
    assert isinstance(end, Finish)
    assert (end.landed, end.observed_sha) == (False, seen.version)
    assert words in end.evidence


def test_a_version_that_may_be_coming_up_is_waited_for() -> None:
    assert isinstance(judge(dead(running_s=59), Seen(None, False, "")), Leave)
    assert isinstance(judge(dead(running_s=60), Seen(None, False, "")), Finish)


def test_nothing_comes_up_where_no_command_began() -> None:
    assert isinstance(judge(dead(running_s=1, command=CommandState.NOT_STARTED), Seen(None, False, "")), Finish)
