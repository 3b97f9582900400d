"""What a dead owner claimed for a merge result that the base branch has overtaken since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.stages import Stage
from tests.engine.real_engine import World, make_world
from tests.engine.staged import Drives, push_to_base, staged

WITH_IMAGE = """\
test: ["true"]
image:
  files: [Dockerfile]
  command: ["true"]
"""


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> World:
    return make_world(tmp_path, database_url, WITH_IMAGE)


@pytest.fixture
def drives(world: World) -> Iterator[Drives]:
    drives = Drives(world.environment)
    yield drives
    drives.end()


def claims(world: World, kind: str) -> list[str]:
    return [row[0] for row in world.rows("SELECT status FROM effects WHERE kind = %s ORDER BY id", kind)]


def test_the_claim_of_an_image_that_was_overtaken_is_withdrawn_before_the_visit_is_left(
    world: World, tmp_path: Path, drives: Drives
) -> None:
    """The base moved and changed the recipe: nobody builds that image any more, and nobody else would look at it."""
    push_to_base(world, tmp_path, "Dockerfile", "FROM scratch\n")
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    killed = drives.start("drive", task.task_id, "monitor", 1, failpoints="effect.rebuild_image.claimed=kill")
    killed.communicate(timeout=90)
    assert claims(world, "rebuild_image") == ["claimed"]
    push_to_base(world, tmp_path, "Dockerfile", "FROM scratch\nUSER app\n")
    world.run_until(lambda: world.stage(task.work_item) == "done")
    assert claims(world, "rebuild_image") == ["revoked", "confirmed"]
    assert claims(world, "merge_pr") == ["confirmed"]
    assert world.rows("SELECT kind, target FROM effects WHERE status = 'claimed'") == []
