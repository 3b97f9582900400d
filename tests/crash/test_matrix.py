"""Every step boundary crossed with every fault; a sample of the cells is in the default suite."""

from __future__ import annotations

from typing import Final

import pytest

from orchestrator.domain.stages import Actor, EffectKind, Stage
from tests.crash.cells import Boundary, Cell, Fault, Group, cells
from tests.crash.passage import passage
from tests.crash.scene import Stand

pytestmark = pytest.mark.timeout(600)
"""The first cell of a process waits for a Postgres, and all of them may be on a machine that is busy."""

EVERY: Final = list(cells())
IN_PROCESS: Final = [cell for cell in EVERY if not cell.needs_servers]
WITH_SERVERS: Final = [cell for cell in EVERY if cell.needs_servers]
_SAMPLED: Final = (
    (Boundary.LEASED, Fault.KILL_PARENT),
    (Boundary.CLAIMED, Fault.KILL_CHILD),
    (Boundary.SENT, Fault.IN_FLIGHT),
    (Boundary.SENT, Fault.STOP),
    (Boundary.LANDED, Fault.REBOOT),
    (Boundary.LANDED, Fault.TIER_3),
    (Boundary.ANSWERED, Fault.SECOND_FLEET),
    (Boundary.CONFIRMED, Fault.PID_REUSED),
)
_SAMPLED_OTHERS: Final = (
    (EffectKind.NOTIFY, Boundary.SENT, Fault.KILL_CHILD),
    # These were broken once: a message left open beside a rejection, and a STOP that was told before a roll back ran.
    (EffectKind.NOTIFY, Boundary.CLAIMED, Fault.IN_FLIGHT),
    (EffectKind.ROLL_BACK_DEPLOY, Boundary.CLAIMED, Fault.STOP),
)


def _is_sampled(cell: Cell) -> bool:
    """About twenty cells: each kind of fault that takes its own path, where it hurts most."""
    if cell.group is Group.CORE:
        return cell.effect is EffectKind.MERGE_PR and (cell.boundary, cell.fault) in _SAMPLED
    if cell.group is Group.OTHERS:
        return (cell.effect, cell.boundary, cell.fault) in _SAMPLED_OTHERS
    if cell.group is Group.ZOMBIES:
        who = (cell.actor, cell.fault) == (Actor.FINALIZER, f"then-{Actor.REAPER}")
        return who and cell.effect is EffectKind.MERGE_PR
    if cell.group is Group.STOPS:
        return cell.stage is Stage.TESTING and cell.fault == Fault.KILL_CHILD and cell.boundary.startswith("stop.")
    return cell.boundary == "gate.check_coverage.after"


def _named(cell: Cell) -> str:
    return cell.name


@pytest.mark.matrix
@pytest.mark.parametrize("cell", IN_PROCESS, ids=_named)
def test_everything_holds_whatever_strikes_wherever(stand: Stand, cell: Cell) -> None:
    assert passage(stand, cell) == []


@pytest.mark.crash_fleet
@pytest.mark.parametrize("cell", WITH_SERVERS, ids=_named)
def test_everything_holds_whatever_strikes_the_servers(fragile_stand: Stand, cell: Cell) -> None:
    assert passage(fragile_stand, cell) == []


@pytest.mark.crash
@pytest.mark.parametrize("cell", [cell for cell in IN_PROCESS if _is_sampled(cell)], ids=_named)
def test_everything_holds_in_a_sample_of_the_matrix(stand: Stand, cell: Cell) -> None:
    assert passage(stand, cell) == []
