"""Work items go through every stage on real parts."""

from __future__ import annotations

from pathlib import Path

from orchestrator.engine import intake
from tests.engine.real_engine import make_world


def test_an_item_goes_to_done_with_each_effect_once(tmp_path: Path, database_url: str) -> None:
    world = make_world(tmp_path, database_url)
    item = intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    world.run_until(lambda: world.stage(item) in ("done", "cancelled") or "parked" in str(world.reasons()))
    assert world.stage(item) == "done", world.reasons()
    merges = world.git("log", "--format=%H", "--grep=Orchestrator-Effect", "main").split()
    assert len(merges) == 1
    assert world.git("branch", "--list").split() == ["*", "main"]
    assert not world.rows("SELECT 1 FROM effects WHERE status = 'claimed'")
