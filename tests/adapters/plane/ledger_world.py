"""A task in a real ledger whose work item lives in the stand-in. Its effects run here, or in a process that dies."""

from __future__ import annotations

import sys
from typing import Any, cast

import httpx

from orchestrator.adapters.trackers.plane import PlaneClient, PlaneTracker
from orchestrator.demo.doubles.plane.double import API_KEY
from orchestrator.domain.configuration import PlaneConfig, ProjectConfig
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.secret import Secret
from orchestrator.store.database import Store, connect
from tests.effects.world import World, add_task

OCCASION = "somewhere-to-there"


def world_on(store: Store, url: str, project: str, stage: Stage, *, timeout_s: float = 20.0) -> World:
    """A world whose tracker is Plane's; nothing else of the outside is there."""
    client = PlaneClient(url, Secret(API_KEY), "acme", timeout=httpx.Timeout(timeout_s))
    config = ProjectConfig(key=project, repository="r", tracker="plane", plane=PlaneConfig(workspace="acme"))
    nothing = cast("Any", None)
    return World(
        store=store,
        project=project,
        stage=stage,
        remote=nothing,
        wire=nothing,
        forge=nothing,
        workspaces=Anywhere(),  # type: ignore[arg-type]  # only asked for the base
        tracker=PlaneTracker(client, config),  # type: ignore[arg-type]  # the port is what is used
        deployer=nothing,
        notifiers=(),
    )


class Anywhere:
    """A base branch that nobody looks at."""

    def base_tip(self) -> str:
        return "0" * 40


def new_world(store: Store, url: str, project: str, stage: Stage, **more: Any) -> World:
    """The same with a task's row."""
    world = world_on(store, url, project, stage, **more)
    world.task_id = add_task(world, stage, 5)
    return world


def scene(world: World) -> dict[str, Any]:
    return {"edge": world.forward, "note": "It goes on: <b>& so</b>.", "occasion": OCCASION}


def _main(database_url: str, url: str, project: str, stage: str, task_id: str, kind: str) -> None:
    world = world_on(connect(database_url), url, project, Stage(stage))
    world.task_id = int(task_id)
    world.run(EffectKind(kind), **scene(world))


if __name__ == "__main__":
    _main(*sys.argv[1:])
