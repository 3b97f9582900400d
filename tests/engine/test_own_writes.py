"""Deliveries of a forge that tell of our own writes: kept as done with the reason, and nobody is nudged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.stages import Stage
from orchestrator.engine import deliveries
from tests.adapters.forge_worlds import gitea_world
from tests.engine.plane_engine import keep
from tests.engine.real_engine import make_world
from tests.engine.staged import staged

RECORDED = Path(__file__).parents[1] / "fixtures" / "gitea" / "webhooks"


@pytest.mark.parametrize(
    ("file", "event", "sender", "ignored"),
    [
        ("pull_request.synchronized_1.27.json", "pull_request_sync", "orchestrator", True),
        ("pull_request.synchronized_1.27.json", "pull_request_sync", "ann", False),
        ("issue_comment.created_on_pull.json", "pull_request_comment", "orchestrator", True),
        ("pull_request.closed_merged.json", "pull_request", "orchestrator", False),
        ("pull_request_approved.json", "pull_request_review_approved", "orchestrator", False),
    ],
)
def test_our_own_write_is_kept_as_done_and_nobody_is_nudged(
    tmp_path: Path, database_url: str, file: str, event: str, sender: str, ignored: bool
) -> None:
    world = make_world(tmp_path, database_url, 'test: ["true"]\n')
    staged(world, tmp_path, Stage.REVIEW)
    (number,) = world.rows("SELECT pull_request FROM tasks")[0]
    row = json.loads((RECORDED / file).read_text())
    row["repository"]["full_name"], row["sender"]["login"] = "demo/shop", sender
    row["number"] = number
    for place in ("pull_request", "issue"):
        if place in row:
            row[place]["number"] = number
    with gitea_world(tmp_path) as outside:
        ports = world.engine.project("DEMO")
        found = replace(ports, config=replace(ports.config, forge="gitea"), forge=outside.forge)
        engine = replace(world.engine, project=lambda key: found)
        world.nudges.held.clear()
        deliveries.process_delivery(engine, keep(engine, json.dumps(row).encode(), event=event, source="gitea"))
    assert world.rows("SELECT processed_at IS NOT NULL, note FROM inbox") == [(True, "own write" if ignored else "")]
    nudges = [(name, values[1]) for name, values in world.nudges.held]
    assert nudges == ([] if ignored else [("drive", "gitea")]), "who enters is the forge's webhook"
