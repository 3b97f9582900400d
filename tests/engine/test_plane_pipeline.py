"""A work item of Plane goes through every stage on real parts, whatever stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.demo.doubles.plane.double import ORCHESTRATOR
from orchestrator.engine import polling
from tests.engine.plane_engine import PROJECT, plane_world

HOSTILE = "$(touch PWNED) `touch PWNED`; touch PWNED | {{7*7}} {0} %s ${title} $title \"' --force -- <!-- x --> \\ "


@pytest.mark.timeout(400)
def test_a_hostile_item_goes_to_done_and_its_text_is_only_ever_text(tmp_path: Path, database_url: str) -> None:
    with PlaneDouble(PROJECT) as double:
        world = plane_world(tmp_path, database_url, double)
        body = "".join(f"<p>{one}</p>" for one in ("$(touch PWNED)", "`touch PWNED`", "${title} {{7*7}} $body"))
        item = double.add_item(HOSTILE, body)
        polling.poll(world.engine, PROJECT)
        world.run_until(
            lambda: world.stage(item) in ("done", "cancelled") or "parked" in str(world.reasons()), timeout_s=300
        )
        assert world.stage(item) == "done", world.reasons()
        assert double.state_of(item) == "Done"
        assert [str(one) for one in tmp_path.rglob("*PWNED*")] == []
        prompts = [path.read_text() for path in tmp_path.rglob("prompt*") if path.is_file()]
        requests = [path.read_text() for path in tmp_path.rglob("request.json")]
        assert any("> $(touch PWNED)" in one or "touch PWNED" in one for one in prompts + requests)
        ours = double.user(ORCHESTRATOR).id
        markup = [one.html for one in double.item(item).comments if one.actor == ours]
        assert markup and all("<!--" not in one and "<script" not in one for one in markup)
        states = [one for one in double.item(item).history if one.about == "state"]
        assert len(states) == 2
