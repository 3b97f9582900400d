"""Each rule of ``decide``: a snapshot in, one decision out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.configuration import Approval, Limits, OnDeployFailure
from orchestrator.domain.decide import (
    DISPATCH_PATIENCE,
    Advance,
    Again,
    Cancel,
    Decision,
    Finish,
    Launch,
    MoveCard,
    Park,
    RollBack,
    Wait,
    decide,
)
from orchestrator.domain.stages import AGENT_STAGES, EffectKind, Stage, is_terminal
from orchestrator.domain.verdicts import Finding, Severity, Verdict, VerdictKind
from orchestrator.domain.views import (
    DeploymentStatus,
    DeploymentView,
    EffectStatus,
    EffectView,
    GateOutcome,
    GateResultView,
    JobStatus,
    JobView,
    Outcome,
    Parked,
    Policy,
    StopRequest,
)
from orchestrator.domain.work_items import TrackerState
from tests.task_views import EMPTY_VIEW, QUEUED_JOB

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(minutes=1), NOW - timedelta(minutes=1)
VISIT = 4
STOP = StopRequest("ann", EARLIER)
LIVE = [stage for stage in Stage if not is_terminal(stage)]

POLICY = Policy(
    approval=Approval.NONE,
    on_deploy_failure=OnDeployFailure.PARK,
    concurrency=1,
    limits=Limits(attempts_per_stage=3, roll_backs_per_task=2, gate_errors=3, runs_per_project=2),
    agent_stages=frozenset(AGENT_STAGES),
)
QUEUED = replace(QUEUED_JOB, visit=VISIT)
RUNNING = replace(QUEUED, status=JobStatus.RUNNING, node="here", started_at=EARLIER)
EXITED = replace(RUNNING, exited_at=EARLIER)


def verdict(kind: VerdictKind = VerdictKind.PASS, **more: object) -> Verdict:
    return replace(Verdict("r", kind, "looked at it"), **more)  # type: ignore[arg-type]  # a test's short hand


def settled(outcome: Outcome, found: Verdict | None = None) -> JobView:
    return replace(EXITED, outcome=outcome, verdict=found)


PASSED = settled(Outcome.VERDICT, verdict())
SENT_BACK = settled(Outcome.VERDICT, verdict(VerdictKind.NEEDS_CHANGES))

BASE = replace(
    EMPTY_VIEW,
    stage=Stage.REVIEW,
    stage_seq=VISIT,
    lease_epoch=9,
    created_at=EARLIER,
    facts_at=EARLIER,
    head_sha="a" * 40,
    pull_request=1,
    job=QUEUED,
    policy=POLICY,
)


def decided(**changes: object) -> Decision:
    return decide(replace(BASE, **changes), NOW)  # type: ignore[arg-type]  # a test's short hand


def waits(found: Decision) -> str:
    assert isinstance(found, Wait), found
    return " | ".join(found.reasons)


def parks(found: Decision) -> str:
    assert isinstance(found, Park), found
    return found.reason


def gate(name: str, outcome: GateOutcome, evidence: str = "e", not_before: datetime | None = None) -> GateResultView:
    return GateResultView(name, outcome, evidence, None, EARLIER, not_before)


def effect(kind: EffectKind, status: EffectStatus, visit: int = VISIT) -> EffectView:
    return EffectView(1, kind, "x", visit, status, 1, {}, {}, EARLIER)


def deployment(status: DeploymentStatus, environment: str = "production") -> DeploymentView:
    return DeploymentView(1, environment, VISIT, "a", status, None, None, "")


# --- ends ------------------------------------------------------------------------------------------------


def test_a_done_task_has_nothing_to_do() -> None:
    assert waits(decided(stage=Stage.DONE, stop=STOP)) == "it is done"


def test_a_cancelled_task_is_not_over_before_people_were_told() -> None:
    assert decided(stage=Stage.CANCELLED, stop=STOP) == Cancel()
    assert waits(decided(stage=Stage.CANCELLED, stop=STOP, stop_acknowledged=True)) == "it is cancelled"


@pytest.mark.parametrize("stage", LIVE)
def test_a_stop_request_cancels_in_every_live_stage(stage: Stage) -> None:
    assert decided(stage=stage, stop=STOP) == Cancel()


def test_a_stop_request_comes_before_parking_and_every_other_reason() -> None:
    parked = Parked("because", EARLIER)
    assert decided(stop=STOP, parked=parked, panic=True, paused=("*",), job=PASSED) == Cancel()


def test_a_stop_request_means_nothing_while_it_is_switched_off() -> None:
    assert decided(stop=STOP, stop_enabled=False) == Launch(Stage.REVIEW)


def test_a_stop_waits_until_an_outside_that_did_not_answer_is_asked_again() -> None:
    silent = gate("outside", GateOutcome.ERROR, "forge is down", LATER)
    assert "forge is down" in waits(decided(stop=STOP, gate_results=(silent,)))


PARKED = Parked("no token", EARLIER)


def card(state: TrackerState, status: EffectStatus = EffectStatus.CONFIRMED) -> EffectView:
    return replace(effect(EffectKind.TRACKER_STATE, status), request={"state": state})


AT_WORK, WAITS_FOR_PERSON = card(TrackerState.IN_PROGRESS), card(TrackerState.NEEDS_HUMAN)


def test_a_parked_task_stands_still_and_says_why() -> None:
    shown = (AT_WORK, WAITS_FOR_PERSON)
    assert waits(decided(parked=PARKED, job=PASSED, effects=shown)) == "parked: no token"


@pytest.mark.parametrize(
    "written",
    [
        (),
        (AT_WORK,),
        (AT_WORK, card(TrackerState.NEEDS_HUMAN, EffectStatus.CLAIMED)),
        (AT_WORK, WAITS_FOR_PERSON, AT_WORK),
        (WAITS_FOR_PERSON, card(TrackerState.IN_PROGRESS, EffectStatus.CLAIMED)),
    ],
)
def test_the_card_of_a_parked_task_goes_to_needs_human(written: tuple[EffectView, ...]) -> None:
    assert decided(parked=PARKED, job=PASSED, effects=written) == MoveCard()


@pytest.mark.parametrize(
    "written",
    [
        (AT_WORK, WAITS_FOR_PERSON),
        (AT_WORK, card(TrackerState.NEEDS_HUMAN, EffectStatus.CLAIMED)),
        (WAITS_FOR_PERSON, card(TrackerState.IN_PROGRESS, EffectStatus.CLAIMED)),
    ],
)
def test_the_card_of_a_task_that_goes_on_goes_back_before_anything_else(written: tuple[EffectView, ...]) -> None:
    assert decided(effects=written) == MoveCard()


@pytest.mark.parametrize("written", [(), (AT_WORK,), (AT_WORK, WAITS_FOR_PERSON, AT_WORK)])
def test_a_card_that_stands_right_is_left_alone(written: tuple[EffectView, ...]) -> None:
    assert decided(effects=written) == Launch(Stage.REVIEW)


@pytest.mark.parametrize("parked", [None, PARKED])
def test_an_end_that_was_written_is_the_last_word_on_the_card(parked: Parked | None) -> None:
    """Its message could not be sent: the task waits between the write and the commit of its end."""
    assert decided(parked=parked, effects=(card(TrackerState.DONE), AT_WORK, WAITS_FOR_PERSON)) != MoveCard()


def test_a_panic_moves_no_card() -> None:
    assert waits(decided(parked=PARKED, panic=True)) == "parked: no token"


def test_what_a_task_was_parked_for_does_not_keep_its_card_from_moving() -> None:
    errors = (gate("outside", GateOutcome.ERROR, "no answer"),) * POLICY.limits.gate_errors
    assert decided(parked=PARKED, gate_results=errors) == MoveCard()


def test_a_card_that_cannot_be_moved_is_tried_again_for_as_long_as_it_takes() -> None:
    waiting = gate("outside", GateOutcome.ERROR, "no answer", LATER)
    found = decided(parked=PARKED, gate_results=(waiting,))
    assert waits(found) == "parked: no token | outside: no answer"
    assert isinstance(found, Wait) and found.until == LATER
    errors = (gate("outside", GateOutcome.ERROR, "no answer"),) * 2 * POLICY.limits.gate_errors
    assert decided(parked=PARKED, gate_results=errors) == MoveCard()


# --- starting an agent -----------------------------------------------------------------------------------


def test_a_queued_job_is_launched() -> None:
    assert decided() == Launch(Stage.REVIEW)


def test_a_job_that_was_just_sent_to_a_node_is_waited_for_and_then_sent_again() -> None:
    sent = replace(QUEUED, node="here", dispatched_at=NOW - timedelta(seconds=1))
    assert "being started on here" in waits(decided(job=sent))
    assert decided(job=replace(sent, dispatched_at=NOW - DISPATCH_PATIENCE)) == Launch(Stage.REVIEW)


def test_every_reason_that_keeps_an_agent_from_starting_is_named() -> None:
    found = decided(paused=("*", "D"), panic=True, blocked_by=("D-9",), project_runs=2, retry_not_before=LATER)
    text = waits(found)
    for reason in ("everything is paused", "project D is paused", "panic", "D-9", "2 agents run in D", "12:01:00"):
        assert reason in text
    assert isinstance(found, Wait) and found.until == LATER


def test_a_stage_without_an_agent_that_needs_one_is_parked() -> None:
    policy = replace(POLICY, agent_stages=frozenset())
    assert "no agent is configured for review" in parks(decided(policy=policy, job=None))


def test_deploy_staging_needs_no_agent_unless_one_is_configured() -> None:
    assert isinstance(decided(stage=Stage.DEPLOY_STAGING, job=None), Advance)
    with_agent = replace(POLICY, agent_stages=frozenset({*AGENT_STAGES, Stage.DEPLOY_STAGING}))
    assert decided(stage=Stage.DEPLOY_STAGING, policy=with_agent) == Launch(Stage.DEPLOY_STAGING)


def test_a_visit_without_a_job_begins_one() -> None:
    assert decided(job=None) == Launch(Stage.REVIEW, Again(""))


# --- while an agent works, and after it ------------------------------------------------------------------


def test_a_running_agent_is_waited_for() -> None:
    assert "its agent works on here since 11:59:00" in waits(decided(job=RUNNING))


def test_an_ended_agent_is_finished_on_its_node() -> None:
    assert decided(job=EXITED) == Finish(7, "here")


def test_a_lost_run_is_started_again_and_says_so() -> None:
    found = decided(job=replace(RUNNING, status=JobStatus.LOST, outcome=Outcome.LOST, detail="tier 1"))
    assert isinstance(found, Launch) and found.again is not None and "tier 1" in found.again.evidence


def test_a_job_that_was_cancelled_without_a_stop_is_a_matter_for_a_person() -> None:
    assert "retry" in parks(decided(job=replace(QUEUED, status=JobStatus.CANCELLED)))


@pytest.mark.parametrize("outcome", [Outcome.NO_VERDICT, Outcome.KILLED, Outcome.TIMED_OUT, Outcome.SILENT])
def test_a_run_without_a_verdict_is_repeated_while_attempts_last(outcome: Outcome) -> None:
    found = decided(job=settled(outcome), counted_attempts=1)
    assert isinstance(found, Launch) and found.again is not None and outcome in found.again.evidence
    assert "3 of 3 attempts" in parks(decided(job=settled(outcome), counted_attempts=2))


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.STOPPED])
def test_a_run_that_was_cut_off_is_repeated_and_not_counted(outcome: Outcome) -> None:
    assert isinstance(decided(job=settled(outcome), counted_attempts=99), Launch)


@pytest.mark.parametrize("outcome", [Outcome.QUOTA, Outcome.RATE_LIMITED])
def test_a_quota_puts_the_next_run_off(outcome: Outcome) -> None:
    found = decided(job=settled(outcome), counted_attempts=99)
    assert isinstance(found, Launch) and found.again is not None and found.again.delay_s > 0


@pytest.mark.parametrize("outcome", [Outcome.AUTH, Outcome.BAD_START])
def test_an_agent_that_cannot_start_is_a_matter_for_a_person(outcome: Outcome) -> None:
    assert "cannot start" in parks(decided(job=settled(outcome)))


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("status", list(JobStatus))
def test_every_way_a_job_can_stand_has_a_decision(outcome: Outcome, status: JobStatus) -> None:
    assert decided(job=replace(settled(outcome, verdict()), status=status))


def test_a_job_that_the_ceiling_ended_keeps_its_verdict() -> None:
    assert isinstance(decided(job=replace(PASSED, status=JobStatus.FINISHED)), Advance)


# --- verdicts --------------------------------------------------------------------------------------------


def test_a_pass_takes_the_edge() -> None:
    found = decided(job=PASSED)
    assert isinstance(found, Advance) and found.edge.target is Stage.TESTING and not found.judged


@pytest.mark.parametrize("kind", [VerdictKind.FAIL, VerdictKind.NEEDS_CHANGES])
def test_a_verdict_that_sends_back_goes_to_development_with_its_findings(kind: VerdictKind) -> None:
    finding = Finding(Severity.MAJOR, "no test", "add one", "a.py", 3)
    found = decided(job=settled(Outcome.VERDICT, verdict(kind, findings=(finding,))))
    assert isinstance(found, RollBack) and found.edge.target is Stage.DEVELOPMENT
    assert "no test (a.py:3). add one" in found.reason


@pytest.mark.parametrize("stage", [Stage.ANALYSIS, Stage.ARCHITECTURE, Stage.DEVELOPMENT])
def test_a_stage_without_a_way_back_is_done_again_while_attempts_last(stage: Stage) -> None:
    assert isinstance(decided(stage=stage, job=SENT_BACK), Launch)
    assert "attempts" in parks(decided(stage=stage, job=SENT_BACK, counted_attempts=2))


def test_a_blocked_agent_parks_with_what_it_is_blocked_on() -> None:
    blocked = settled(Outcome.VERDICT, verdict(VerdictKind.BLOCKED, blocked_on="a decision"))
    assert "a decision" in parks(decided(job=blocked))


def test_a_verdict_that_cannot_be_read_any_more_is_asked_for_again() -> None:
    assert isinstance(decided(job=settled(Outcome.VERDICT, None)), Launch)


def test_roll_backs_come_to_an_end() -> None:
    assert "2 of 2 roll backs" in parks(decided(job=SENT_BACK, roll_backs=2))


def test_after_a_merge_outside_nobody_goes_back() -> None:
    assert "merged outside" in parks(decided(job=SENT_BACK, merged_sha="b" * 40))


def test_a_rejection_by_a_person_sends_back_whatever_the_verdict() -> None:
    found = decided(job=PASSED, rejected="rejected by ann: no")
    assert isinstance(found, RollBack) and "ann" in found.reason
    assert "ann" in parks(decided(stage=Stage.DEVELOPMENT, job=PASSED, rejected="rejected by ann: no"))


# --- gates -----------------------------------------------------------------------------------------------


def test_a_failed_gate_sends_back_with_its_evidence() -> None:
    found = decided(job=PASSED, gate_results=(gate("check_x", GateOutcome.FAIL, "red"),))
    assert isinstance(found, RollBack) and "check_x failed: red" in found.reason


def test_only_the_newest_result_of_a_gate_counts() -> None:
    results = (gate("check_x", GateOutcome.FAIL), gate("check_x", GateOutcome.PASS))
    assert isinstance(decided(job=PASSED, gate_results=results), Advance)


@pytest.mark.parametrize("outcome", [GateOutcome.WAIT, GateOutcome.ERROR])
def test_a_gate_that_waits_or_could_not_run_is_asked_again_when_its_time_comes(outcome: GateOutcome) -> None:
    found = decided(job=PASSED, gate_results=(gate("check_x", outcome, "pending", LATER),))
    assert "check_x: pending" in waits(found) and isinstance(found, Wait) and found.until == LATER
    assert isinstance(decided(job=PASSED, gate_results=(gate("check_x", outcome, "pending", EARLIER),)), Advance)


def test_a_new_fact_ends_the_wait_of_a_gate_at_once_but_not_that_of_an_error() -> None:
    waiting = gate("check_x", GateOutcome.WAIT, "pending", LATER)
    assert isinstance(decided(job=PASSED, gate_results=(waiting,), facts_at=NOW), Advance)
    broken = gate("check_x", GateOutcome.ERROR, "no answer", LATER)
    assert isinstance(decided(job=PASSED, gate_results=(broken,), facts_at=NOW), Wait)


def test_a_gate_that_could_not_run_too_often_is_a_matter_for_a_person_and_never_a_fail() -> None:
    errors = tuple(gate("check_x", GateOutcome.ERROR, "no answer", EARLIER) for _ in range(3))
    assert "3 times" in parks(decided(job=PASSED, gate_results=errors))
    assert isinstance(decided(job=PASSED, gate_results=errors[:2]), Advance)
    between = (*errors[:2], gate("check_x", GateOutcome.WAIT, "pending", EARLIER), *errors[:2])
    assert isinstance(decided(job=PASSED, gate_results=between), Advance)


def test_an_outside_that_did_not_answer_is_asked_later_and_in_the_end_parks() -> None:
    down = gate("outside", GateOutcome.ERROR, "forge is down", EARLIER)
    assert isinstance(decided(job=PASSED, gate_results=(down, down)), Advance)
    assert "3 errors in a row" in parks(decided(job=PASSED, gate_results=(down, down, down)))
    over = (down, down, gate("check_x", GateOutcome.PASS), down)
    assert isinstance(decided(job=PASSED, gate_results=over), Advance)


def test_a_full_serial_part_is_waited_for() -> None:
    found = decided(stage=Stage.ARCHITECTURE, job=PASSED, serial_load=1)
    assert "1 of 1 items of D are between development and done" in waits(found)
    assert isinstance(decided(job=PASSED, serial_load=1), Advance)


# --- panic, and what was begun ---------------------------------------------------------------------------


def test_panic_holds_up_an_edge_but_not_one_whose_effect_was_claimed_in_this_visit() -> None:
    assert "panic" in waits(decided(job=PASSED, panic=True))
    claimed = effect(EffectKind.OPEN_PR, EffectStatus.CLAIMED)
    assert isinstance(decided(job=PASSED, panic=True, effects=(claimed,)), Advance)
    of_earlier = replace(claimed, visit=VISIT - 1)
    assert "panic" in waits(decided(job=PASSED, panic=True, effects=(of_earlier,)))


def test_after_the_merge_of_this_visit_the_only_way_is_forward() -> None:
    merged = effect(EffectKind.MERGE_PR, EffectStatus.CONFIRMED)
    failed = gate("check_x", GateOutcome.FAIL)
    found = decided(stage=Stage.DEPLOY_STAGING, job=None, effects=(merged,), gate_results=(failed,), rejected="by ann")
    assert isinstance(found, Advance) and found.judged and found.edge.target is Stage.DEPLOY


def test_a_merge_of_an_earlier_visit_does_not_excuse_from_gates() -> None:
    earlier = effect(EffectKind.MERGE_PR, EffectStatus.CONFIRMED, VISIT - 1)
    found = decided(stage=Stage.DEPLOY_STAGING, job=None, effects=(earlier,))
    assert isinstance(found, Advance) and not found.judged


# --- deploys ---------------------------------------------------------------------------------------------

UNHEALTHY = gate("check_deploy_observed", GateOutcome.FAIL, "answers 500")


def test_a_failed_production_deploy_is_rolled_back_and_parks() -> None:
    found = decided(
        stage=Stage.DEPLOY,
        job=None,
        merged_sha="b",
        gate_results=(UNHEALTHY,),
        deployments=(deployment(DeploymentStatus.FAILED),),
    )
    assert isinstance(found, Park) and found.before == (EffectKind.ROLL_BACK_DEPLOY,)


def test_a_failed_production_deploy_may_be_fixed_forward_on_a_new_branch() -> None:
    found = decided(
        stage=Stage.DEPLOY,
        job=None,
        merged_sha="b",
        gate_results=(UNHEALTHY,),
        deployments=(deployment(DeploymentStatus.FAILED),),
        policy=replace(POLICY, on_deploy_failure=OnDeployFailure.FIX_FORWARD),
    )
    assert isinstance(found, RollBack) and found.new_branch and found.before == (EffectKind.ROLL_BACK_DEPLOY,)


@pytest.mark.parametrize("status", [DeploymentStatus.REQUESTED, DeploymentStatus.RUNNING, DeploymentStatus.SUCCEEDED])
def test_a_rejection_after_the_production_deploy_has_begun_is_too_late(status: DeploymentStatus) -> None:
    """Sent back, a deployer would bring up what was rejected, with nobody there to look at it."""
    found = decided(stage=Stage.DEPLOY, job=None, rejected="by ann", deployments=(deployment(status),))
    assert isinstance(found, Advance) and not found.judged, "its gate still looks at what answers"


def test_a_rejection_does_not_save_a_deploy_that_failed_from_its_roll_back() -> None:
    found = decided(stage=Stage.DEPLOY, job=None, rejected="by ann", deployments=(deployment(DeploymentStatus.FAILED),))
    assert isinstance(found, Park) and found.before == (EffectKind.ROLL_BACK_DEPLOY,)


def test_a_rejection_before_production_sends_back_whatever_an_earlier_deploy_came_to() -> None:
    earlier = deployment(DeploymentStatus.SUCCEEDED)
    assert isinstance(decided(stage=Stage.REVIEW, rejected="by ann", deployments=(earlier,)), RollBack)


def test_a_deploy_that_was_rolled_back_already_is_not_rolled_back_again() -> None:
    found = decided(
        stage=Stage.DEPLOY,
        job=None,
        gate_results=(UNHEALTHY,),
        deployments=(deployment(DeploymentStatus.ROLLED_BACK),),
    )
    assert isinstance(found, Park) and found.before == ()


def test_a_failed_staging_deploy_is_put_back_before_the_task_goes_back() -> None:
    found = decided(
        stage=Stage.DEPLOY_STAGING,
        job=None,
        gate_results=(gate("check_staging_healthy", GateOutcome.FAIL),),
        deployments=(deployment(DeploymentStatus.FAILED, "staging"),),
    )
    assert isinstance(found, RollBack) and found.before == (EffectKind.ROLL_BACK_DEPLOY,) and not found.new_branch
