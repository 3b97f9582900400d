"""Each write to Plane, whenever its owner is killed and whatever the line does: the outside is changed once.

The owner is a real process that is ended by SIGKILL: before the request leaves, after it was done and before its
answer, and after the answer. Its successor finds the claim.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.demo.doubles.plane.double import ORCHESTRATOR
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import EffectStatus
from orchestrator.store.database import Store
from tests.adapters.plane import ledger_world
from tests.adapters.plane.ledger_world import new_world, scene
from tests.effects.world import World

ROOT = Path(__file__).parents[3]
COMMENT, STATE = EffectKind.TRACKER_COMMENT, EffectKind.TRACKER_STATE
STAGES = {COMMENT: Stage.REVIEW, STATE: Stage.DEPLOY}
WRITES = {COMMENT: ("POST", "/comments/$"), STATE: ("PATCH", "/work-items/[^/]+/$")}
PATIENCE_S = 60.0


@dataclass
class Scene:
    """One effect that is due, on one item."""

    double: PlaneDouble
    store: Store
    world: World
    kind: EffectKind

    def landed(self) -> int:
        """How often the effect is seen outside, in Plane's own records."""
        item, ours = self.double.item(self.world.work_item), self.double.user(ORCHESTRATOR).id
        if self.kind is COMMENT:
            return sum(one.actor == ours for one in item.comments)
        done = self.double.state("Done").id
        return sum(one.about == "state" and one.new == done and one.actor == ours for one in item.history)

    def run(self) -> None:
        self.world.run(self.kind, **scene(self.world))

    def run_until_done(self) -> int:
        """Passes of successors until one goes through; how many failed."""
        deadline, failed = time.monotonic() + PATIENCE_S, 0
        while True:
            try:
                self.run()
            except OrchestratorError:
                failed += 1
                assert time.monotonic() < deadline
                time.sleep(0.1)
            else:
                return failed

    def ends_right(self) -> None:
        self.run()
        assert self.landed() == 1
        assert self.world.status(self.kind) is EffectStatus.CONFIRMED
        if self.kind is COMMENT:
            assert self.double.comments(self.world.work_item) == ["It goes on: <b>& so</b>."]
        else:
            assert self.double.state_of(self.world.work_item) == "Done"

    def owner(self, failpoints: str = "") -> subprocess.Popen[bytes]:
        """The effect in a process of its own."""
        store_url = self.store.engine.url.render_as_string(hide_password=False)
        words = [store_url, self.double.url, self.world.project, self.world.stage, str(self.world.task_id), self.kind]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ORCH_FAILPOINTS": failpoints}
        return subprocess.Popen([sys.executable, "-m", ledger_world.__name__, *map(str, words)], env=environment)


@pytest.fixture
def identifier() -> str:
    return f"P{uuid.uuid4().hex[:8].upper()}"


@pytest.fixture(params=[COMMENT, STATE])
def due(request: pytest.FixtureRequest, shared_store: Store, identifier: str) -> Iterator[Scene]:
    with PlaneDouble(identifier) as double:
        double.add_item("one", state="In Progress")
        world = new_world(shared_store, double.url, identifier, STAGES[request.param], timeout_s=2.0)
        yield Scene(double, shared_store, world, request.param)


# --- killed ----------------------------------------------------------------------------------------------


@pytest.mark.crash
@pytest.mark.parametrize("moment", ["claimed", "looked", "sent", "answered", "confirmed"])
def test_an_owner_that_is_killed_leaves_an_effect_that_happens_once(due: Scene, moment: str) -> None:
    owner = due.owner(f"effect.{due.kind}.{moment}=kill")
    assert owner.wait(PATIENCE_S) == -signal.SIGKILL
    assert due.landed() == (moment in ("answered", "confirmed"))
    due.ends_right()


@pytest.mark.crash
@pytest.mark.parametrize("done", [True, False])
def test_an_owner_that_is_killed_while_it_waits_for_the_answer_leaves_an_effect_that_happens_once(
    due: Scene, done: bool
) -> None:
    """The request left: it is done (or will be, after its sender's death), and its answer reaches nobody."""
    held = due.double.hold(*WRITES[due.kind], done=done)
    owner = due.owner()
    assert held.caught.wait(PATIENCE_S)
    owner.send_signal(signal.SIGKILL)
    assert owner.wait(PATIENCE_S) == -signal.SIGKILL
    held.release(forget=not done)
    due.ends_right()


# --- the line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("done", [True, False])
def test_an_error_of_the_server_says_nothing_of_what_was_done(due: Scene, done: bool, times: int) -> None:
    due.double.fail(*WRITES[due.kind], done=done, times=times)
    due.run_until_done()
    due.ends_right()


@pytest.mark.parametrize("done", [True, False])
def test_a_dropped_connection_says_nothing_of_what_was_done(due: Scene, done: bool) -> None:
    due.double.drop(*WRITES[due.kind], done=done)
    due.run_until_done()
    due.ends_right()


@pytest.mark.parametrize("done", [True, False])
def test_a_time_out_says_nothing_of_what_was_done(due: Scene, done: bool) -> None:
    held = due.double.hold(*WRITES[due.kind], done=done)
    due.run_until_done()
    # Whatever hung is done at last, or never was: the sender has long gone on.
    held.release(forget=not done)
    due.ends_right()


def test_a_closed_window_is_waited_for(due: Scene) -> None:
    due.double.limit(*WRITES[due.kind], retry_after_s=1)
    assert due.run_until_done() > 0
    due.ends_right()


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_reads_that_fail_are_no_facts(due: Scene, method: str) -> None:
    due.double.fail(method, "/work-items/", done=True, times=3)
    due.run_until_done()
    due.ends_right()


def test_an_item_that_was_deleted_ends_its_effects_without_writing(due: Scene) -> None:
    due.double.delete(due.world.work_item)
    due.run()
    assert due.world.status(due.kind) is EffectStatus.CONFIRMED
    assert dict(due.world.ledger(due.kind)[-1].result) == {"skipped": "the work item is gone from the tracker"}
