"""The registration of a node at the start of its workers."""

from __future__ import annotations

import time

import pytest
import sqlalchemy
from sqlalchemy import text

from orchestrator.adapters.host import LinuxHost
from orchestrator.store import nodes
from orchestrator.store.database import Store
from tasks.startup import register


def test_a_node_that_was_declared_lost_is_left_to_the_reaper_to_fence(
    engine: sqlalchemy.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    store, host = Store(engine), LinuxHost("n1")
    register(store, host, fresh_s=45.0)
    with store.transaction() as connection:
        assert nodes.declare_lost(connection, silent_s=0.0) == ["n1"]
    register(store, host, fresh_s=45.0)
    with store.transaction() as connection:
        assert nodes.all_nodes(connection)[0].lost_at is not None
    assert "fenced" in caplog.text


def test_a_machine_that_rebooted_faster_than_its_reports_waits_and_comes_up(engine: sqlalchemy.Engine) -> None:
    store, host = Store(engine), LinuxHost("n1")
    with store.transaction() as connection:
        connection.execute(text("INSERT INTO nodes (node, boot_id, pid_ns) VALUES ('n1', 'the boot before', 1)"))
    began = time.monotonic()
    register(store, host, fresh_s=2.0)
    with store.transaction() as connection:
        (node,) = nodes.all_nodes(connection)
    assert (node.boot_id, node.incarnation) == (host.boot_id, 2)
    assert time.monotonic() - began > 1.5
