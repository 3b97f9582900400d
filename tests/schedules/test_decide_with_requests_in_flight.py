"""``decide`` against an outside that is a multiset of requests in flight: each may land now, much later, or never.

What the engine does with a decision is told here in a few pure lines (claim, send, look, withdraw, commit); every
decision comes from ``decide`` itself. Hypothesis looks for an order of events that breaks an invariant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import assert_never

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.domain.configuration import Approval, Limits, OnDeployFailure
from orchestrator.domain.decide import (
    Advance,
    Cancel,
    Decision,
    Finish,
    Launch,
    MoveCard,
    Park,
    PutBack,
    RollBack,
    Wait,
    decide,
)
from orchestrator.domain.stages import (
    AFTER_MERGE,
    AGENT_STAGES,
    STAGE_TRANSITIONS,
    TERMINAL,
    EffectKind,
    Stage,
    roll_back_edge,
)
from orchestrator.domain.verdicts import Verdict, VerdictKind
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
    TaskView,
)
from tests.task_views import EMPTY_VIEW, QUEUED_JOB

MERGE, DEPLOY, CARD = EffectKind.MERGE_PR, EffectKind.START_DEPLOY_PRODUCTION, EffectKind.TRACKER_STATE
FATES = st.sampled_from(("lands", "lands", "late", "late", "lost"))
POLICY = Policy(
    approval=Approval.NONE,
    on_deploy_failure=OnDeployFailure.PARK,
    concurrency=1,
    limits=Limits(gate_errors=4),
    agent_stages=frozenset(AGENT_STAGES),
)
Request = tuple[EffectKind, str]


class InFlight(RuleBasedStateMachine):
    """One task from review on, and the world that it acts on. ``merges`` and ``deploys`` are the outside's own log."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.view: TaskView = replace(
            EMPTY_VIEW, stage=Stage.REVIEW, stage_seq=3, head_sha="head-1", pull_request=1, policy=POLICY
        )
        self.heads, self.head, self.is_open = 1, "head-1", True
        self.merges: list[str] = []
        self.deploys: list[str] = []
        self.flight: list[Request] = []
        self.tombstones: set[str] = set()
        self.history: list[Stage] = [Stage.REVIEW]
        self.ids = 0

    # --- what happens outside --------------------------------------------------------------------------------

    @precondition(lambda self: self.flight)
    @rule(data=st.data())
    def a_request_lands(self, data: st.DataObject) -> None:
        self._land(self.flight.pop(data.draw(st.integers(0, len(self.flight) - 1))))

    @precondition(lambda self: self.flight)
    @rule(data=st.data())
    def a_request_is_lost(self, data: st.DataObject) -> None:
        self.flight.pop(data.draw(st.integers(0, len(self.flight) - 1)))

    @precondition(lambda self: self.view.stop is None and self.view.stage not in TERMINAL)
    @rule()
    def somebody_asks_for_a_stop(self) -> None:
        self.view = replace(self.view, stop=StopRequest("ann", self.now))

    @precondition(lambda self: self.view.stage not in TERMINAL)
    @rule()
    def somebody_sends_it_back(self) -> None:
        self.view = replace(self.view, rejected="rejected by ann: no", facts_at=self.now)

    @precondition(lambda self: self.view.parked)
    @rule()
    def somebody_retries(self) -> None:
        self.view = replace(
            self.view, parked=None, rejected=None, round=self.view.round + 1, gate_results=(), job=self._job()
        )

    @rule(kind=st.sampled_from(VerdictKind))
    def an_agent_answers(self, kind: VerdictKind) -> None:
        job = self.view.job
        if job is None or job.status is not JobStatus.RUNNING or job.outcome is not None:
            return
        head = self._new_head() if self.view.stage is Stage.DEVELOPMENT else self.head
        done = replace(job, exited_at=self.now, outcome=Outcome.VERDICT, verdict=Verdict("r", kind, "said"))
        self.view = replace(self.view, job=replace(done, head_sha=head), head_sha=head, facts_at=self.now)

    @precondition(lambda self: any(one.status is DeploymentStatus.RUNNING for one in self.view.deployments))
    @rule(healthy=st.booleans())
    def a_deploy_ends(self, healthy: bool) -> None:
        status = DeploymentStatus.SUCCEEDED if healthy else DeploymentStatus.FAILED
        self.view = replace(
            self.view,
            facts_at=self.now,
            deployments=tuple(
                replace(one, status=status) if one.status is DeploymentStatus.RUNNING else one
                for one in self.view.deployments
            ),
        )

    @rule(seconds=st.integers(1, 1000))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    # --- what the engine does with a decision ----------------------------------------------------------------

    @rule(gates=st.sampled_from(GateOutcome), fate=FATES)
    def the_task_is_looked_at(self, gates: GateOutcome, fate: str) -> None:
        self._drive(gates, fate)

    def _drive(self, gates: GateOutcome, fate: str) -> Decision:
        self._settle()
        decision = decide(self.view, self.now)
        match decision:
            case Wait(reasons):
                assert reasons, "it waits and says not why"
            case Launch(_, again):
                self._launch(anew=again is not None)
            case Advance(edge, judged):
                self._advance(edge.target, judged=judged, gates=gates, fate=fate)
            case RollBack(edge):
                assert edge == roll_back_edge(self.view.stage)
                self._go_back()
            case Park(reason):
                self.view = replace(self.view, parked=Parked(reason, self.now))
            case Cancel():
                self._cancel()
            case MoveCard():
                self._move_card(fate)
            case PutBack():
                raise AssertionError("nobody moves a card in this story")
            case Finish():
                raise AssertionError("every run of this story is finished when it ends")
            case _:
                assert_never(decision)
        return decision

    def _launch(self, *, anew: bool) -> None:
        if anew or self.view.job is None:
            self.view = replace(self.view, round=self.view.round + 1, gate_results=(), job=self._job())
        else:
            self.view = replace(self.view, job=replace(self.view.job, status=JobStatus.RUNNING, node="here"))

    def _advance(self, target: Stage, *, judged: bool, gates: GateOutcome, fate: str) -> None:
        if not judged and gates is not GateOutcome.PASS:
            self._judge("check", gates)
            return
        if self.view.stage is Stage.DEPLOY_STAGING:
            done = (judged or self._bring_about(MERGE, self.head, fate)) and self._bring_about(DEPLOY, "", fate)
            if not done:
                return
        self._commit(target)

    def _bring_about(self, kind: EffectKind, head: str, fate: str) -> bool:
        """Claim, look, send once, look: True when it is done."""
        claim = next((one for one in self.view.effects_of_visit() if one.kind is kind), None)
        if claim is not None and claim.status is EffectStatus.CONFIRMED:
            return True
        if claim is not None and claim.status is EffectStatus.REVOKED:
            self._judge(f"effect.{kind}", GateOutcome.FAIL)
            return False
        if claim is None and (self.view.stop is not None or (kind is MERGE and self.head != self.view.head_sha)):
            return False
        if claim is None:
            self._claim(kind, head or str(self.view.visit))
        target = self._open(kind).target
        if not self._has_landed(kind, target):
            self.flight.append((kind, target))
            if fate == "lands":
                self._land(self.flight.pop())
            elif fate == "lost":
                self.flight.pop()
        self._settle()
        if self._has_landed(kind, target):
            return True
        self._judge("outside", GateOutcome.ERROR)
        return False

    def _move_card(self, fate: str) -> None:
        """One claim a target; it is confirmed only by an owner that lives to see it land."""
        state = self.view.card_belongs
        target = f"{state}/{self.view.round}"
        known = [one for one in self.view.effects_of_visit() if one.kind is CARD and one.target == target]
        assert not any(one.status is EffectStatus.CONFIRMED for one in known), f"{target} is written a second time"
        if not known:
            self._claim(CARD, target, {"state": state})
        if fate == "lands":
            self._set(EffectStatus.CLAIMED, EffectStatus.CONFIRMED, [self._open_card(target).id])
        else:
            self._judge("outside", GateOutcome.ERROR)

    def _open_card(self, target: str) -> EffectView:
        return next(one for one in self.view.open_claims() if one.kind is CARD and one.target == target)

    def _go_back(self) -> None:
        if self._withdraw():
            self._commit(Stage.DEVELOPMENT)

    def _cancel(self) -> None:
        if self.view.stage is Stage.CANCELLED:
            self.view = replace(self.view, stop_acknowledged=True)
            return
        self._withdraw()
        if any(one.environment == "production" for one in self.view.deployments):
            self.view = replace(self.view, stop=None)
            return
        self.is_open = False
        self._commit(Stage.CANCELLED)

    def _withdraw(self) -> bool:
        """Make every open claim impossible, then read back; False when one had landed after all."""
        opened = self.view.open_claims()
        for claim in opened:
            if claim.kind is MERGE and claim.target not in self.merges:
                self._new_head()
            if claim.kind is DEPLOY:
                self.tombstones.add(claim.target)
        self._settle()
        self._set(EffectStatus.CLAIMED, EffectStatus.REVOKED, [one.id for one in self.view.open_claims()])
        landed = [one for one in self.view.effects if one.id in {old.id for old in opened}]
        return not any(one.status is EffectStatus.CONFIRMED for one in landed)

    # --- rows ------------------------------------------------------------------------------------------------

    def _land(self, request: Request) -> None:
        kind, target = request
        if kind is MERGE and self.is_open and target == self.head and not self.merges:
            self.merges.append(target)
        if kind is DEPLOY and target not in self.tombstones and target not in self.deploys:
            self.deploys.append(target)
            row = DeploymentView(
                len(self.deploys), "production", int(target), "m", DeploymentStatus.RUNNING, None, None, ""
            )
            self.view = replace(self.view, deployments=(*self.view.deployments, row))

    def _has_landed(self, kind: EffectKind, target: str) -> bool:
        landed = {MERGE: self.merges, DEPLOY: self.deploys}
        return target in landed.get(kind, [])

    def _settle(self) -> None:
        """Look at every open claim: what landed is confirmed."""
        for claim in self.view.open_claims():
            if self._has_landed(claim.kind, claim.target):
                self._set(EffectStatus.CLAIMED, EffectStatus.CONFIRMED, [claim.id])
                if claim.kind is MERGE:
                    self.view = replace(self.view, merged_sha=claim.target)

    def _set(self, before: EffectStatus, after: EffectStatus, ids: list[int]) -> None:
        self.view = replace(
            self.view,
            effects=tuple(
                replace(one, status=after) if one.id in ids and one.status is before else one
                for one in self.view.effects
            ),
        )

    def _open(self, kind: EffectKind) -> EffectView:
        return next(one for one in self.view.open_claims() if one.kind is kind)

    def _claim(self, kind: EffectKind, target: str, request: Mapping[str, str] | None = None) -> None:
        self.ids += 1
        status = EffectStatus.CLAIMED
        row = EffectView(self.ids, kind, target, self.view.visit, status, 1, request or {}, {}, self.now)
        self.view = replace(self.view, effects=(*self.view.effects, row))

    def _judge(self, gate: str, outcome: GateOutcome) -> None:
        wait = outcome in (GateOutcome.ERROR, GateOutcome.WAIT)
        until = self.now + timedelta(seconds=5) if wait else None
        row = GateResultView(gate, outcome, "said so", self.view.head_sha, self.now, until)
        self.view = replace(self.view, gate_results=(*self.view.gate_results, row))

    def _commit(self, target: Stage) -> None:
        self.history.append(target)
        self.view = replace(
            self.view,
            stage=target,
            stage_seq=self.view.stage_seq + 1,
            round=0,
            roll_backs=self.view.roll_backs + (target is Stage.DEVELOPMENT),
            rejected=None,
            gate_results=(),
            job=None,
        )
        if target in AGENT_STAGES:
            self.view = replace(self.view, job=self._job())

    def _job(self) -> JobView | None:
        if self.view.stage not in AGENT_STAGES:
            return None
        return replace(QUEUED_JOB, stage=self.view.stage, visit=self.view.visit, round=self.view.round)

    def _new_head(self) -> str:
        self.heads += 1
        self.head = f"head-{self.heads}"
        return self.head

    # --- what must hold --------------------------------------------------------------------------------------

    @invariant()
    def it_is_merged_once_and_only_as_decided(self) -> None:
        assert len(self.merges) <= 1
        claims = [one for one in self.view.effects if one.kind is MERGE and one.target in self.merges]
        assert all(one.status is not EffectStatus.REVOKED for one in claims), "what was withdrawn has landed"

    @invariant()
    def nobody_goes_back_after_the_merge(self) -> None:
        confirmed = self.view.confirmed(MERGE)
        if confirmed is not None:
            later = self.history[confirmed.visit - 3 :]
            assert Stage.DEVELOPMENT not in later, f"merged in visit {confirmed.visit}: {self.history}"

    @invariant()
    def what_comes_after_the_merge_has_a_merge(self) -> None:
        if self.view.stage in AFTER_MERGE:
            assert self.merges and self.deploys

    @invariant()
    def the_history_is_a_path(self) -> None:
        for before, after in zip(self.history, self.history[1:], strict=False):
            assert after in STAGE_TRANSITIONS[before]

    @invariant()
    def no_visit_is_left_with_an_open_claim(self) -> None:
        assert all(one.visit == self.view.visit for one in self.view.open_claims())

    @invariant()
    def a_deploy_starts_once_a_visit(self) -> None:
        assert len(self.deploys) == len(set(self.deploys))

    @invariant()
    def nothing_lands_after_the_stop_was_told(self) -> None:
        if self.view.stop_acknowledged:
            assert not self.deploys
            assert not any(kind is MERGE and target == self.head and self.is_open for kind, target in self.flight)

    def teardown(self) -> None:
        """Faults stop: whatever is in flight lands, agents and gates pass, and the task comes to an end or says why
        it waits for a person."""
        for _ in range(60):
            while self.flight:
                self._land(self.flight.pop())
            self.now += timedelta(hours=1)
            decision = self._drive(GateOutcome.PASS, "lands")
            if isinstance(decision, Wait) and (self.view.parked is not None or self.view.stage in TERMINAL):
                assert not self.view.card_is_misplaced or self.view.stage in TERMINAL
                return
            self.an_agent_answers(VerdictKind.PASS)
            if any(one.status is DeploymentStatus.RUNNING for one in self.view.deployments):
                self.a_deploy_ends(healthy=True)
        raise AssertionError(f"it does not come to rest: {self.view.stage}, {decide(self.view, self.now)}")


InFlight.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestDecideWithRequestsInFlight = InFlight.TestCase
