"""What is said about a run."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.chaos.observer import Group, Takeover
from tests.chaos.report import Report, as_data, figures, lines, percentile

GOOD = Report(
    seed=7,
    minutes=3.0,
    seconds=260.0,
    rest_s=41.0,
    faults={"kill edges.child": 2, "reboot": 1},
    not_done=("#9 kill deployer: nobody to hit in 40 s",),
    items={"done": 9, "cancelled": 3},
    takeovers=tuple(Takeover(Group.CHILD, "kill edges.child", seconds / 100, alone=True) for seconds in range(1, 101)),
    relaunches=(),
    notes=(),
    violations=(),
    load=1.0,
    data_dir="somewhere",
)


def test_a_percentile_is_one_of_the_times() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 99) == 4.0
    assert percentile([5.0], 99) == 5.0


def test_the_table_has_median_p99_and_the_longest_by_kind() -> None:
    child = figures(GOOD.takeovers)[Group.CHILD]
    assert (child.count, child.median, child.p99, child.longest) == (100, 0.5, 0.99, 1.0)


def test_a_takeover_that_another_fault_disturbed_counts_only_where_there_is_no_other() -> None:
    disturbed = Takeover(Group.CHILD, "kill edges.child", 50.0, alone=False)
    assert figures((*GOOD.takeovers, disturbed))[Group.CHILD].longest == 1.0
    assert figures((disturbed,))[Group.CHILD].longest == 50.0
    told = "\n".join(lines(replace(GOOD, takeovers=(disturbed,))))
    assert "each beside another fault" in told
    assert "each beside another fault" not in "\n".join(lines(GOOD))


def test_a_violation_is_told_and_counted() -> None:
    told = list(lines(replace(GOOD, violations=("I1: two merges",))))
    assert "VIOLATION: I1: two merges" in told
    assert told[-1] == "1 violations"
    assert list(lines(GOOD))[-1] == "0 violations"


def test_programs_get_the_same_as_json() -> None:
    data = json.loads(json.dumps(as_data(GOOD)))
    assert data["faults"] == GOOD.faults
    assert data["takeover_s"]["child"]["p99"] == 0.99
    assert data["takeover_s"]["child"]["alone"] == data["takeover_s"]["child"]["all"]
    assert data["violations"] == []
