"""The coverage baseline: once a merge, only upwards, and by nobody whose lease was taken away."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import EffectStatus
from orchestrator.effects import EFFECTS
from orchestrator.effects.contract import Absent, Landed
from orchestrator.store import coverage
from orchestrator.store.coverage import Rise
from tests.effects.world import World

RATCHET = EffectKind.RATCHET_COVERAGE


def rise(world: World, old: str | None, new: str) -> Rise:
    return Rise(world.project, "main", None if old is None else Decimal(old), Decimal(new), "s" * 40)


def write(world: World, change: Rise) -> Committed | LostRace:
    held = world.enter()
    with world.store.transaction() as connection:
        return coverage.raise_baseline_if_unchanged(connection, held, change)


def rate(world: World) -> float | None:
    with world.store.transaction() as connection:
        return coverage.baseline(connection, world.project, "main")


def test_the_newest_figure_of_the_visit_becomes_the_baseline(world: World) -> None:
    for figure in (0.71, 0.8333339):
        world.measured(figure)
    world.set_task(merged_sha="m" * 40)
    result = world.run(RATCHET, edge=world.forward)
    assert result == {"line_rate": "0.833333", "sha": "m" * 40}
    assert rate(world) == 0.833333


def test_where_nothing_was_measured_nothing_is_raised(world: World) -> None:
    assert world.run(RATCHET, edge=world.forward) == {"skipped": "nothing was measured"}
    assert rate(world) is None


def test_a_figure_that_is_no_share_is_refused(world: World) -> None:
    world.measured(83.0)
    with pytest.raises(PermanentError, match="no share"):
        world.run(RATCHET, edge=world.forward)


def test_a_baseline_that_is_as_high_already_is_done(world: World) -> None:
    write(world, rise(world, None, "0.9"))
    world.measured(0.8)
    assert world.run(RATCHET, edge=world.forward) == {"line_rate": "0.900000", "sha": "s" * 40}
    assert rate(world) == 0.9


def test_a_higher_figure_raises_it(world: World) -> None:
    write(world, rise(world, None, "0.5"))
    world.measured(0.75)
    world.run(RATCHET, edge=world.forward)
    assert rate(world) == 0.75


@pytest.mark.parametrize(
    ("old", "new"),
    [(None, "0.6"), ("0.4", "0.6"), ("0.5", "0.5"), ("0.5", "0.4")],
    ids=["there is one", "it was raised since it was read", "it is that high", "downwards"],
)
def test_a_write_that_lost_its_race_changes_nothing(world: World, old: str | None, new: str) -> None:
    write(world, rise(world, None, "0.5"))
    assert isinstance(write(world, rise(world, old, new)), LostRace)
    assert rate(world) == 0.5


def test_an_owner_whose_lease_was_taken_away_raises_nothing(world: World) -> None:
    world.measured(0.8)
    context, stale = world.context(RATCHET), world.enter()
    world.enter()
    EFFECTS[RATCHET].act(context, stale)
    assert EFFECTS[RATCHET].look(context) == Absent()
    assert rate(world) is None


def test_withdrawing_it_leaves_what_landed(world: World) -> None:
    world.measured(0.8)
    context = world.context(RATCHET)
    EFFECTS[RATCHET].act(context, world.enter())
    EFFECTS[RATCHET].revoke(context, world.enter())
    assert isinstance(EFFECTS[RATCHET].look(context), Landed)
    assert [row for row in world.ledger(RATCHET) if row.status is EffectStatus.CONFIRMED] == []
