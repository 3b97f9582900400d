"""Who is alive: by identity, never by age; «cannot tell» counts as alive."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from orchestrator.domain.ownership import Lease, Liveness, Owner, ProcessState, is_alive, liveness

OWNER = Owner(node="n1", boot_id="b1", pid_ns=1, pid=10, start_ticks=100)


@dataclass
class Table:
    """A node whose processes are a table; a pid in ``hidden`` may not be looked at."""

    node: str = "n1"
    boot_id: str = "b1"
    pid_ns: int = 1
    processes: dict[int, ProcessState] = field(default_factory=lambda: {10: ProcessState("S", 100)})
    hidden: frozenset[int] = frozenset()
    lost: bool = False

    def process(self, pid: int) -> ProcessState | None:
        if pid in self.hidden:
            raise PermissionError(pid)
        return self.processes.get(pid)

    def node_is_lost(self, owner: Owner) -> bool:
        return self.lost


@pytest.mark.parametrize("state", ["R", "S", "D", "T", "t", "I"])
def test_a_process_that_is_there_lives_in_whatever_state(state: str) -> None:
    assert liveness(OWNER, Table(processes={10: ProcessState(state, 100)})) is Liveness.ALIVE


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_zombie_is_dead(state: str) -> None:
    assert liveness(OWNER, Table(processes={10: ProcessState(state, 100)})) is Liveness.DEAD


def test_a_pid_given_out_again_is_dead() -> None:
    assert liveness(OWNER, Table(processes={10: ProcessState("R", 101)})) is Liveness.DEAD


def test_a_pid_that_is_gone_is_dead() -> None:
    assert liveness(OWNER, Table(processes={})) is Liveness.DEAD


def test_what_may_not_be_looked_at_counts_as_alive() -> None:
    table = Table(hidden=frozenset({10}))
    assert liveness(OWNER, table) is Liveness.UNKNOWN
    assert is_alive(OWNER, table)


def test_after_a_reboot_everybody_is_dead_though_pid_and_ticks_match() -> None:
    assert liveness(OWNER, Table(boot_id="b2")) is Liveness.DEAD


@pytest.mark.parametrize("elsewhere", [Table(node="n2", boot_id="b2", processes={}), Table(pid_ns=2, processes={})])
def test_who_lives_elsewhere_counts_as_alive_until_its_node_is_lost(elsewhere: Table) -> None:
    assert is_alive(OWNER, elsewhere)
    assert liveness(OWNER, elsewhere) is Liveness.UNKNOWN
    assert liveness(OWNER, replace(elsewhere, lost=True)) is Liveness.DEAD


def test_a_node_name_alone_never_makes_a_local_process_dead() -> None:
    assert liveness(OWNER, Table(lost=True)) is Liveness.ALIVE


@pytest.mark.parametrize(
    ("owner", "released", "held"),
    [(OWNER, None, True), (OWNER, datetime(2026, 1, 1, tzinfo=UTC), False), (None, None, False)],
)
def test_a_lease_is_held_by_an_owner_who_did_not_release_it(
    owner: Owner | None, released: datetime | None, held: bool
) -> None:
    lease = Lease(
        task_id=1,
        edge="a -> b",
        actor="monitor",
        epoch=1,
        owner=owner,
        child=None,
        acquired_at=datetime(2026, 1, 1, tzinfo=UTC),
        released_at=released,
    )
    assert lease.is_held is held


def test_an_owner_is_shown_by_what_tells_it_apart() -> None:
    assert str(OWNER) == "n1/10@100"
