"""Every step boundary crossed with every fault."""

from __future__ import annotations

import pytest

from tests.crash.cells import Cell, cells
from tests.crash.passage import passage
from tests.crash.scene import Stand

IN_PROCESS = [cell for cell in cells() if not cell.needs_servers]


@pytest.mark.matrix
@pytest.mark.parametrize("cell", IN_PROCESS, ids=lambda cell: cell.name)
def test_everything_holds_whatever_strikes_wherever(stand: Stand, cell: Cell) -> None:
    assert passage(stand, cell) == []
