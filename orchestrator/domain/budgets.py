"""Budgets of agent runs: what was used, what may be, and whether a bound is reached. Pure.

A CLI that tells no cost uses no US dollars here; its runs are counted as unmeasured and shown, never as free. What
bounds them is tokens, time and attempts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from orchestrator.domain.configuration import Limits
from orchestrator.domain.runs import Usage

_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Spent:
    """What runs used together. ``unmeasured``: how many of them told no cost."""

    usd: Decimal = Decimal(0)
    tokens: int = 0
    seconds: float = 0.0
    unmeasured: int = 0

    def and_now(self, usage: Usage) -> Spent:
        """With a run on top that has not ended."""
        tokens = (usage.tokens_in or 0) + (usage.tokens_out or 0)
        return Spent(self.usd + (usage.cost_usd or 0), self.tokens + tokens, self.seconds, self.unmeasured)


@dataclass(frozen=True, slots=True)
class Spending:
    """``item``: all runs of this task. ``day``: all runs of its project that began since midnight UTC."""

    item: Spent = field(default_factory=Spent)
    day: Spent = field(default_factory=Spent)


@dataclass(frozen=True, slots=True)
class Reached:
    """A bound that is reached, with its figure. ``until``: it opens again by itself then; None: only for a person."""

    figure: str
    until: datetime | None = None


def reached(spending: Spending, limits: Limits, project: str, now: datetime) -> Reached | None:
    """The first bound that forbids another run; None while there is room. A limit of 0 is off."""
    item, day = spending.item, spending.day
    found = (
        _over("US dollars", item.usd, limits.usd_per_item, "this item")
        or _over("tokens", item.tokens, limits.tokens_per_item, "this item")
        or _over("hours of agents", round(item.seconds / _HOUR_S, 1), limits.hours_per_item, "this item")
    )
    if found:
        return Reached(found)
    found = _over("US dollars", day.usd, limits.usd_per_day, f"{project} today") or _over(
        "tokens", day.tokens, limits.tokens_per_day, f"{project} today"
    )
    return Reached(found, _midnight_after(now)) if found else None


def reached_by_run(usage: Usage, spending: Spending, limits: Limits, project: str) -> str:
    """The figure of the bound that a run in progress has reached; empty while it may go on."""
    run = Spent().and_now(usage)
    item, day = spending.item.and_now(usage), spending.day.and_now(usage)
    return (
        _over("US dollars", run.usd, limits.usd_per_run, "this run")
        or _over("tokens", run.tokens, limits.tokens_per_run, "this run")
        or _over("US dollars", item.usd, limits.usd_per_item, "this item")
        or _over("tokens", item.tokens, limits.tokens_per_item, "this item")
        or _over("US dollars", day.usd, limits.usd_per_day, f"{project} today")
        or _over("tokens", day.tokens, limits.tokens_per_day, f"{project} today")
    )


def _over(what: str, used: Decimal | float, limit: float, whose: str) -> str:
    if not limit or used < limit:
        return ""
    return f"{used:,} of {limit:,} {what} of {whose} are used"


def _midnight_after(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ProviderPause:
    """A provider that refused for a quota. ``tried_by``: the task whose run tries first whether it is back."""

    runtime: str
    until: datetime
    why: str
    tried_by: int | None = None
