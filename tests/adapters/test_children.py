"""Commands under a lease: what starts them, what ends them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.children import LeasedChildren
from orchestrator.adapters.host import this_host
from orchestrator.domain.errors import LostRaceError
from orchestrator.domain.ownership import ChildGroup


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As a worker has them: the next pipe gets a number of two digits."""
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    yield
    for one in opened:
        os.close(one)


def test_a_command_starts_once_its_group_is_written_down(tmp_path: Path, many_descriptors: None) -> None:
    announced: list[ChildGroup | None] = []

    def announce(group: ChildGroup | None) -> bool:
        announced.append(group)
        return True

    runner = LeasedChildren(this_host("n"), announce, {"PATH": os.environ["PATH"]})
    result = runner.run(["sh", "-c", "cat; echo $0 here; exit 3", "it is"], cwd=tmp_path, timeout_s=20)
    assert (result.exit_code, result.output, result.timed_out) == (3, "it is here\n", False)
    assert announced[0] is not None
    assert announced[1:] == [None]


def test_a_command_never_starts_when_the_lease_is_gone(tmp_path: Path, many_descriptors: None) -> None:
    runner = LeasedChildren(this_host("n"), lambda _group: False, {"PATH": os.environ["PATH"]})
    with pytest.raises(LostRaceError):
        runner.run(["touch", "started"], cwd=tmp_path, timeout_s=20)
    assert not (tmp_path / "started").exists()
