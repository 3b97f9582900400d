"""Which takeovers are those of one fault alone."""

from __future__ import annotations

from typing import cast

import pytest

from orchestrator.fleet.identity import ProcessIdentity
from tests.chaos.arena import Arena
from tests.chaos.observer import Group, Observer
from tests.chaos.victims import Victim

_EDGES = Victim("edges", (ProcessIdentity(7, 70),))


@pytest.fixture
def observer() -> Observer:
    return Observer(cast("Arena", None))


def _kill(observer: Observer) -> None:
    observer._watch(Group.CHILD, "kill edges.child", lambda _: False)


def _alone(observer: Observer) -> list[bool]:
    return [one.alone for one in observer._open]


def test_one_fault_is_alone_and_two_at_once_are_not(observer: Observer) -> None:
    _kill(observer)
    assert _alone(observer) == [True]
    _kill(observer)
    assert _alone(observer) == [False, False]


def test_what_is_killed_while_its_parent_stands_waits_for_that_too(observer: Observer) -> None:
    observer.stopped(_EDGES)
    _kill(observer)
    assert _alone(observer) == [False]
    observer.forgive()
    observer.stands_no_more(_EDGES)
    _kill(observer)
    assert _alone(observer) == [True]


def test_a_stop_disturbs_what_is_waited_for(observer: Observer) -> None:
    _kill(observer)
    observer.stopped(_EDGES)
    assert _alone(observer) == [False]
