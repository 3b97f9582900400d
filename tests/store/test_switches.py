"""The merge lane's levers: a person's pause, and the closures of failed deploys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine

from orchestrator.store import switches
from orchestrator.store.database import Store

LANE = "D/main"


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with Store(engine).transaction("test") as connection:
        yield connection


def bars(connection: Connection, *items: str) -> list[bool]:
    return [switches.lane_bar(connection, LANE, item) is not None for item in items]


def test_an_open_lane_bars_nobody(connection: Connection) -> None:
    switches.throw(connection, "lane", "E/main", "ann", "")
    switches.close_lane(connection, "D/main2", "D-1", "another branch")
    assert bars(connection, "D-1", "D-2") == [False, False]


def test_a_failed_deploy_bars_all_but_the_items_whose_deploys_failed(connection: Connection) -> None:
    for item in ("D-1", "D-2", "D-1"):
        switches.close_lane(connection, LANE, item, "it does not answer")
    assert bars(connection, "D-1", "D-2", "D-3") == [False, False, True]
    why = switches.lane_bar(connection, LANE, "D-3")
    assert why is not None and "deploy of D-1, D-2 failed" in why and "orch lane resume" in why
    assert [one.reason for one in switches.thrown(connection)] == ["it does not answer"] * 2


def test_the_last_mend_opens_the_lane_for_everybody(connection: Connection) -> None:
    for item in ("D-1", "D-2"):
        switches.close_lane(connection, LANE, item, "")
    assert switches.open_lane(connection, LANE, "D-1")
    assert bars(connection, "D-1", "D-2", "D-3") == [True, False, True]
    assert switches.open_lane(connection, LANE, "D-2")
    assert not switches.open_lane(connection, LANE, "D-2")
    assert bars(connection, "D-1", "D-3") == [False, False]


def test_a_pause_by_a_person_bars_a_mend_too_and_no_mend_undoes_it(connection: Connection) -> None:
    switches.close_lane(connection, LANE, "D-1", "")
    switches.throw(connection, "lane", LANE, "ann", "we look at it")
    assert switches.lane_bar(connection, LANE, "D-1") == f"the merge lane {LANE} is paused by ann: we look at it"
    switches.open_lane(connection, LANE, "D-1")
    assert bars(connection, "D-1", "D-3") == [True, True]


def test_a_person_opens_the_lane_whatever_closed_it(connection: Connection) -> None:
    switches.throw(connection, "lane", LANE, "ann", "")
    for item in ("D-1", "D-2"):
        switches.close_lane(connection, LANE, item, "")
    switches.close_lane(connection, "E/main", "E-1", "")
    assert switches.resume_lane(connection, LANE, "ben")
    assert not switches.resume_lane(connection, LANE, "ben")
    assert bars(connection, "D-3") == [False]
    assert [one.scope for one in switches.thrown(connection)] == ["E/main:E-1"]
