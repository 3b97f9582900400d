"""Budgets: what forbids another run, and what ends one that goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from orchestrator.domain.budgets import ProviderPause, Spending, Spent, reached, reached_by_run
from orchestrator.domain.configuration import Limits
from orchestrator.domain.decide import Launch, Park, Wait, decide
from orchestrator.domain.runs import Usage
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import Policy
from tests.task_views import EMPTY_VIEW

NOW = datetime(2026, 11, 24, 17, 30, tzinfo=UTC)
LIMITS = Limits(usd_per_run=2, usd_per_item=10, usd_per_day=50, tokens_per_item=1000)
WITH_AGENT = replace(
    EMPTY_VIEW,
    policy=replace(
        EMPTY_VIEW.policy,
        limits=LIMITS,
        agent_stages=frozenset({Stage.DEVELOPMENT}),
        runtimes={Stage.DEVELOPMENT: "claude"},
    ),
)


def usd(item: str = "0", day: str = "0") -> Spending:
    return Spending(Spent(usd=Decimal(item)), Spent(usd=Decimal(day)))


def test_with_room_in_every_budget_the_agent_starts() -> None:
    assert reached(usd("9.99", "49.99"), LIMITS, "D", NOW) is None
    assert isinstance(decide(replace(WITH_AGENT, spending=usd("9.99", "49.99")), NOW), Launch)


def test_an_item_that_used_its_money_parks_with_the_figure() -> None:
    decision = decide(replace(WITH_AGENT, spending=usd("10.5")), NOW)
    assert isinstance(decision, Park)
    assert "10.5 of 10 US dollars of this item are used" in decision.reason


def test_a_project_that_used_its_day_waits_for_the_next_one() -> None:
    decision = decide(replace(WITH_AGENT, spending=usd("1", "50")), NOW)
    assert isinstance(decision, Wait)
    assert decision.until == datetime(2026, 11, 25, tzinfo=UTC)
    assert "50 of 50 US dollars of D today are used" in " ".join(decision.reasons)


def test_tokens_and_time_bound_what_tells_no_cost() -> None:
    tokens, time = Spending(Spent(tokens=1000)), Spending(Spent(seconds=24 * 3600))
    assert "tokens" in getattr(reached(tokens, LIMITS, "D", NOW), "figure", "")
    assert "hours of agents" in getattr(reached(time, LIMITS, "D", NOW), "figure", "")


def test_a_limit_of_zero_is_off() -> None:
    limits = replace(LIMITS, usd_per_item=0, usd_per_day=0, tokens_per_item=0, hours_per_item=0)
    assert reached(Spending(Spent(Decimal(10**6), 10**9, 1e9), Spent(Decimal(10**6))), limits, "D", NOW) is None


def test_a_run_is_ended_by_its_own_bound_or_by_what_it_adds_to() -> None:
    going_on = Usage(tokens_in=10, tokens_out=5, cost_usd=Decimal("1.5"))
    assert reached_by_run(going_on, usd("1", "1"), LIMITS, "D") == ""
    assert "of this run" in reached_by_run(replace(going_on, cost_usd=Decimal(2)), usd(), LIMITS, "D")
    assert "of this item" in reached_by_run(going_on, usd("9", "9"), LIMITS, "D")
    assert "of D today" in reached_by_run(going_on, usd("1", "49"), LIMITS, "D")


def test_what_is_not_measured_reaches_no_bound_by_itself() -> None:
    assert reached_by_run(Usage(), usd(), LIMITS, "D") == ""


def test_while_a_provider_is_paused_nothing_starts_there() -> None:
    paused = ProviderPause("claude", NOW + timedelta(minutes=5), "weekly limit")
    decision = decide(replace(WITH_AGENT, provider=paused), NOW)
    assert isinstance(decision, Wait)
    assert (decision.until, "weekly limit" in decision.reasons[0]) == (paused.until, True)


def test_after_the_reset_one_task_tries_and_the_others_wait_for_it() -> None:
    over = ProviderPause("claude", NOW - timedelta(seconds=1), "weekly limit")
    assert isinstance(decide(replace(WITH_AGENT, provider=over), NOW), Launch)
    assert isinstance(decide(replace(WITH_AGENT, provider=replace(over, tried_by=WITH_AGENT.task_id)), NOW), Launch)
    waits = decide(replace(WITH_AGENT, provider=replace(over, tried_by=99)), NOW)
    assert isinstance(waits, Wait)
    assert "tries first" in waits.reasons[0]


def test_a_policy_without_budgets_in_it_has_those_that_are_on_by_default() -> None:
    policy: Policy = EMPTY_VIEW.policy
    assert (policy.limits.usd_per_run, policy.limits.usd_per_item, policy.limits.usd_per_day) == (20, 100, 300)
