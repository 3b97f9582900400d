"""The ledger: a claim is written only under a current epoch, found by a successor, and settled once."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine

from orchestrator.domain.ownership import Committed, HeldLease, LostRace
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import EffectStatus
from orchestrator.store import leases, ledger, switches, tasks
from orchestrator.store.ledger import Claim
from tests.store.heart import Heart, at_once


@pytest.fixture
def heart(engine: Engine) -> Heart:
    return Heart(engine)


def claimed(heart: Heart, held: HeldLease, **more: str) -> Claim:
    claim = heart.claim(held, request=more)
    assert isinstance(claim, Claim)
    return claim


def rows(heart: Heart) -> object:
    return heart.one("SELECT count(*) FROM effects")


def test_a_stale_epoch_claims_nothing(heart: Heart) -> None:
    held = heart.held(heart.task())
    heart.force(held.task_id)
    assert isinstance(heart.claim(held), LostRace)
    assert rows(heart) == 0


def test_a_claim_that_waits_behind_a_release_by_force_writes_nothing(heart: Heart) -> None:
    """The case in which a claim without the row lock would become visible after its successor read the ledger."""
    task = heart.task()
    held = heart.held(task)
    found = heart.behind(
        lambda connection: leases.force_release(connection, task, why="test", epoch=held.epoch),
        lambda: heart.claim(held),
    )
    assert isinstance(found, LostRace)
    assert rows(heart) == 0


def test_a_release_by_force_that_waits_behind_a_claim_sees_it(heart: Heart) -> None:
    task = heart.task()
    held = heart.held(task)

    def force_and_look() -> object:
        heart.force(task, held.epoch)
        return rows(heart)

    def claim(connection: Connection) -> object:
        return heart.claim_in(connection, held)

    assert heart.behind(claim, force_and_look) == 1


def test_a_claim_of_another_visit_is_refused(heart: Heart) -> None:
    held = heart.held(heart.task())
    assert isinstance(heart.claim(held, visit=3), LostRace)
    assert rows(heart) == 0


def test_a_successor_adopts_the_claim_and_keeps_what_was_decided(heart: Heart) -> None:
    task = heart.task()
    first = claimed(heart, heart.held(task, heart.gone()), head="abc")
    second = claimed(heart, heart.held(task), head="other")
    assert (second.id, second.adopted, second.request) == (first.id, True, {"head": "abc"})
    assert not first.adopted
    assert heart.one("SELECT adoptions FROM effects") == 1


def test_a_claim_is_made_once_however_many_claim_at_once(heart: Heart) -> None:
    held = heart.held(heart.task())
    found = at_once(*[lambda: heart.claim(held)] * 4)
    assert all(isinstance(one, Claim) for one in found)
    assert rows(heart) == 1


def stopped(heart: Heart, task: int) -> None:
    with heart.store.transaction() as connection:
        tasks.request_stop(connection, task, "ann")


def test_after_a_stop_request_nothing_new_is_claimed_but_cleanup(heart: Heart) -> None:
    held = heart.held(heart.task())
    stopped(heart, held.task_id)
    assert isinstance(heart.claim(held), LostRace)
    assert isinstance(heart.claim(held, cleanup=True), Claim)


def test_after_a_stop_request_a_claim_that_stands_is_still_adopted(heart: Heart) -> None:
    held = heart.held(heart.task())
    first = claimed(heart, held)
    stopped(heart, held.task_id)
    assert claimed(heart, held).id == first.id


def test_a_claim_that_waits_behind_a_stop_request_is_refused(heart: Heart) -> None:
    held = heart.held(heart.task())
    found = heart.behind(
        lambda connection: tasks.request_stop(connection, held.task_id, "ann"), lambda: heart.claim(held)
    )
    assert isinstance(found, LostRace)
    assert rows(heart) == 0


def test_panic_refuses_new_claims_and_adopts_those_that_stand(heart: Heart) -> None:
    standing, new = heart.held(heart.task()), heart.held(heart.task())
    first = claimed(heart, standing)
    with heart.store.transaction() as connection:
        switches.throw(connection, "panic", "*", "ann", "")
    assert isinstance(heart.claim(new), LostRace)
    assert isinstance(heart.claim(new, cleanup=True), LostRace)
    assert claimed(heart, standing).id == first.id


def test_a_confirmed_effect_is_found_and_not_claimed_anew(heart: Heart) -> None:
    held = heart.held(heart.task())
    claim = claimed(heart, held)
    with heart.store.transaction() as connection:
        assert isinstance(ledger.confirm_if_epoch_holds(connection, held, claim, {"sha": "abc"}), Committed)
    again = claimed(heart, held)
    assert (again.status, again.result) == (EffectStatus.CONFIRMED, {"sha": "abc"})


def test_a_confirmation_after_a_withdrawal_loses(heart: Heart) -> None:
    task = heart.task()
    zombie = heart.held(task)
    claim = claimed(heart, zombie)
    heart.force(task)
    successor = heart.held(task)
    with heart.store.transaction() as connection:
        assert isinstance(ledger.revoke_if_epoch_holds(connection, successor, claim.id, {}), Committed)
    with heart.store.transaction() as connection:
        assert isinstance(ledger.confirm_if_epoch_holds(connection, zombie, claim, {}), LostRace)
        assert isinstance(ledger.confirm_if_epoch_holds(connection, successor, claim, {}), LostRace)
    assert heart.one("SELECT status FROM effects") == "revoked"


def test_nothing_is_sent_under_a_lease_that_was_taken_away(heart: Heart) -> None:
    held = heart.held(heart.task())
    claim = claimed(heart, held)
    heart.force(held.task_id)
    with heart.store.transaction() as connection:
        assert isinstance(ledger.mark_sent_if_epoch_holds(connection, held, claim), LostRace)
    assert heart.one("SELECT sends FROM effects") == 0


def test_nothing_is_sent_for_a_claim_that_was_settled(heart: Heart) -> None:
    held = heart.held(heart.task())
    claim = claimed(heart, held)
    with heart.store.transaction() as connection:
        ledger.revoke_if_epoch_holds(connection, held, claim.id, {})
        assert isinstance(ledger.mark_sent_if_epoch_holds(connection, held, claim), LostRace)


def test_a_refused_effect_may_be_claimed_again_in_its_row(heart: Heart) -> None:
    held = heart.held(heart.task())
    first = claimed(heart, held, head="abc")
    with heart.store.transaction() as connection:
        ledger.refuse_if_epoch_holds(connection, held, first, {"why": "closed"})
    again = claimed(heart, held, head="def")
    assert (again.id, again.status, again.adopted) == (first.id, EffectStatus.CLAIMED, False)
    assert again.request == {"head": "def"}


def test_the_same_effect_in_a_later_visit_is_another_row(heart: Heart) -> None:
    task = heart.task(Stage.REVIEW)
    held = heart.held(task)
    claimed(heart, held)
    heart.commit(held, Stage.REVIEW, 0, Stage.TESTING)
    later = heart.claim(heart.held(task), visit=1)
    assert isinstance(later, Claim) and not later.adopted
    assert rows(heart) == 2
