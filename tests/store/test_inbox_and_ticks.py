"""Deliveries are kept once and never given up; a sweep runs once at a time and leaves its time."""

from __future__ import annotations

from sqlalchemy import Engine, text

from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.store import inbox, ticks
from orchestrator.store.database import Store


def _receive(store: Store, key: str = "k1", source: str = "tracker") -> inbox.Received:
    with store.transaction() as connection:
        return inbox.receive(connection, source=source, delivery="d1", dedupe_key=key, event="issue", body=b"{\0\xff")


def test_a_delivery_is_kept_once_a_source_and_key(engine: Engine) -> None:
    store = Store(engine)
    first, again, other = _receive(store), _receive(store), _receive(store, source="forge")
    assert (first.duplicate, again.duplicate, other.duplicate) == (False, True, False)
    assert again.id == first.id != other.id


def test_the_body_is_kept_byte_by_byte(engine: Engine) -> None:
    store = Store(engine)
    kept = _receive(store)
    with store.transaction() as connection:
        found = inbox.get(connection, kept.id)
    assert found is not None
    assert found.body == b"{\0\xff"


def test_a_processed_delivery_is_no_longer_due_and_is_processed_once(engine: Engine) -> None:
    store = Store(engine)
    kept = _receive(store)
    with store.transaction() as connection:
        assert [one.id for one in inbox.due(connection)] == [kept.id]
        assert inbox.processed(connection, kept.id, "D-1") == Committed()
        assert isinstance(inbox.processed(connection, kept.id), LostRace)
        assert inbox.due(connection) == []


def test_a_failed_delivery_comes_back_later_each_time_and_says_why(engine: Engine) -> None:
    store = Store(engine)
    kept = _receive(store)
    waits = []
    for _ in range(12):
        with store.transaction() as connection:
            inbox.failed(connection, kept.id, "the tracker\0does not answer")
            wait = text("SELECT extract(epoch FROM not_before - clock_timestamp()) FROM inbox")
            waits.append(float(connection.execute(wait).scalar_one()))
            assert inbox.due(connection) == []
    rounded = [round(wait) for wait in waits]
    assert rounded == sorted(rounded)
    assert (rounded[0], rounded[-1]) == (inbox.FIRST_RETRY_S, inbox.LONGEST_RETRY_S)
    with store.transaction() as connection:
        found = inbox.get(connection, kept.id)
    assert found is not None
    assert (found.attempts, found.error) == (12, "the tracker\ufffddoes not answer")


def test_a_late_failure_does_not_reopen_a_processed_delivery(engine: Engine) -> None:
    store = Store(engine)
    kept = _receive(store)
    with store.transaction() as connection:
        inbox.processed(connection, kept.id)
        assert isinstance(inbox.failed(connection, kept.id, "late"), LostRace)


def test_only_one_pass_of_a_name_runs_at_a_time(engine: Engine) -> None:
    store = Store(engine)
    reap, reconcile = "reap", "reconcile"
    with (
        ticks.only_one(store, reap) as first,
        ticks.only_one(store, reap) as second,
        ticks.only_one(store, reconcile) as other,
    ):
        assert (first, second, other) == (True, False, True)
    with ticks.only_one(store, "reap") as again:
        assert again


def test_a_pass_that_raised_lets_go_of_its_name(engine: Engine) -> None:
    store = Store(engine)
    try:
        with ticks.only_one(store, "reap"):
            raise ValueError
    except ValueError:
        pass
    with ticks.only_one(store, "reap") as again:
        assert again


def test_a_guarded_pass_holds_no_transaction_open(engine: Engine) -> None:
    store = Store(engine)
    with ticks.only_one(store, "reap"), store.transaction() as connection:
        idle = text(
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
            " AND datname = current_database()"
        )
        assert connection.execute(idle).scalar_one() == 0


def test_a_failed_pass_keeps_the_time_of_the_last_good_one(engine: Engine) -> None:
    store = Store(engine)
    with store.transaction() as connection:
        ticks.record(connection, "poll", ok=True, note="3 items")
    with store.transaction() as connection:
        good = ticks.ages(connection)[0]
        ticks.record(connection, "poll", ok=False, note="refused")
    with store.transaction() as connection:
        bad = ticks.ages(connection)[0]
    assert (good.last_error, bad.last_error, bad.summary) == ("", "refused", "3 items")
    assert bad.last_success_at == good.last_success_at
    assert bad.last_at > good.last_at


def test_a_pass_that_began_is_a_sign_of_life(engine: Engine) -> None:
    store = Store(engine)
    with store.transaction() as connection:
        ticks.record(connection, "reap", ok=True, note="nothing to do")
    with store.transaction() as connection:
        before = ticks.ages(connection)[0]
        ticks.began(connection, "reap")
    with store.transaction() as connection:
        after = ticks.ages(connection)[0]
    assert after.last_at > before.last_at
    assert (after.last_success_at, after.summary) == (before.last_success_at, before.summary)
