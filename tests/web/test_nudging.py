"""Nudges of deliveries leave after the answer: whatever the broker does, it costs the intake nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from web.nudging import AT_ONCE, LaterNudges

PATIENCE_S = 60.0


class Broker:
    """Takes messages when it is let; ``answers`` says what it says to each."""

    def __init__(self, *, answers: bool = True) -> None:
        self.taken: list[tuple[int, ...]] = []
        self.frozen, self.reached = threading.Event(), threading.Event()
        self.frozen.set()
        self._answers = answers

    def process_deliveries(self, delivery_ids: Sequence[int]) -> bool:
        self.reached.set()
        assert self.frozen.wait(PATIENCE_S), "the test let it hang"
        self.taken.append(tuple(delivery_ids))
        return self._answers


def test_a_frozen_broker_holds_nobody_up_and_what_came_meanwhile_goes_together() -> None:
    broker = Broker()
    nudges = LaterNudges(broker)
    broker.frozen.clear()
    nudges.process_delivery(1)
    assert broker.reached.wait(PATIENCE_S)
    for one in range(2, 12):
        nudges.process_delivery(one)
    assert broker.taken == []
    broker.frozen.set()
    assert nudges.settle(PATIENCE_S)
    assert broker.taken == [(1,), tuple(range(2, 12))]


def test_a_message_names_no_more_than_one_pass_takes() -> None:
    broker = Broker()
    nudges = LaterNudges(broker)
    broker.frozen.clear()
    nudges.process_delivery(0)
    assert broker.reached.wait(PATIENCE_S)
    for one in range(1, 2 * AT_ONCE + 2):
        nudges.process_delivery(one)
    broker.frozen.set()
    assert nudges.settle(PATIENCE_S)
    assert [len(one) for one in broker.taken] == [1, AT_ONCE, AT_ONCE, 1]
    assert [one for message in broker.taken for one in message] == list(range(2 * AT_ONCE + 2))


def test_a_broker_that_is_gone_is_not_asked_for_each_message_of_a_burst() -> None:
    broker = Broker(answers=False)
    nudges = LaterNudges(broker)
    broker.frozen.clear()
    nudges.process_delivery(0)
    assert broker.reached.wait(PATIENCE_S)
    for one in range(1, 3 * AT_ONCE):
        nudges.process_delivery(one)
    broker.frozen.set()
    assert nudges.settle(PATIENCE_S)
    assert [len(one) for one in broker.taken] == [1, AT_ONCE]
    nudges.process_delivery(7)
    assert nudges.settle(PATIENCE_S)
    assert broker.taken[-1] == (7,), "it may be back"
