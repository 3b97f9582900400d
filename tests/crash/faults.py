"""How each fault strikes an actor that stands at a boundary, and how it is over before the sweeps run."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.domain.errors import UsageError
from orchestrator.domain.ownership import Liveness, Owner, ProcessState, liveness
from orchestrator.domain.stages import Actor
from orchestrator.engine import operator, reaper, reconciler
from orchestrator.engine.context import Engine
from orchestrator.store import inbox
from tasks import startup
from tests.crash.cells import Boundary, Cell, Fault
from tests.crash.fleet import build
from tests.crash.nursery import Process
from tests.crash.scene import Scene, moved, shift_clock, wait_a_tick
from tests.outside.checker import METHODS
from tests.outside.proxy import Trouble

HOUR: Final = 3600.0
MONTH: Final = 30 * 24 * HOUR
_TRIES: Final = 5
_BEFORE_LANDING: Final = (
    Boundary.BEFORE_ENTRY,
    Boundary.LEASED,
    Boundary.CLAIMED,
    Boundary.LOOKED,
    Boundary.SENT,
)


@dataclass
class Struck:
    """The scene, and the actor that stands at the cell's boundary: stopped, or waiting for an answer that is held."""

    scene: Scene
    process: Process
    cell: Cell

    @property
    def method(self) -> str:
        """The effect's own request while it is still to be sent; after that, whatever is sent next."""
        ahead = self.cell.boundary in _BEFORE_LANDING
        return METHODS.get(self.cell.effect, "") if ahead else ""

    def go_on(self) -> None:
        """Let the actor do the rest of its work and end."""
        self.scene.proxy.let_go()
        self.process.go_on()
        self.process.wait_ended()


def kill_child(at: Struck) -> None:
    at.process.kill()


def kill_parent(at: Struck) -> None:
    """The worker's parent dies: the kernel kills its child, and the messages that it had taken are gone."""
    assert at.process.parent is not None
    at.process.parent.kill()
    at.process.wait_ended()
    at.scene.nudges.take()


def beat_dead(at: Struck) -> None:
    """No sweep comes for a while: only messages move the task. Then two beats run."""
    at.go_on()
    at.scene.deliver()
    for _ in range(2):
        reaper.reap(at.scene.engine)
        reconciler.reconcile(at.scene.engine)


def broker_lost(at: Struck) -> None:
    """Every message is lost, those before and those after the boundary."""
    at.scene.nudges.take()
    at.go_on()
    at.scene.nudges.take()


def postgres_stop(at: Struck) -> None:
    """Postgres is stopped at once (no checkpoint, every connection cut) and recovers from its log; the actor lives."""
    stores = at.scene.postgres
    assert stores is not None
    os.kill(stores.pids["postgres"], signal.SIGQUIT)
    stores.stop()  # all that is left to do is to wait: what asks more kindly comes too late
    stores.start()
    at.go_on()


def reboot(at: Struck) -> None:
    """Every process of the node is gone, and the node has another boot id: what the start of a worker does is done."""
    at.process.kill()
    scene = at.scene
    scene.parts = moved(scene.parts, boot_id="the-boot-after")
    scene.engine = build(scene.parts, scene.engine.store)
    scene.nudges.take()
    startup.register(scene.engine.store, scene.engine.host, fresh_s=0.0)
    for task, item in startup.recover(scene.engine.store, scene.engine.host):
        scene.nudges.drive(task, item, Actor.REAPER)


def second_fleet(at: Struck) -> None:
    """Another fleet on the same database: its sweeps and workers come while the actor stands, and as it goes on."""
    other = at.scene.start(act="sweep")
    rival = at.scene.start(Actor.RECONCILER)
    other.wait_ended()
    rival.wait_ended()
    at.scene.proxy.let_go()
    at.process.go_on()
    again = at.scene.start(Actor.REAPER)
    at.process.wait_ended()
    again.wait_ended()


def clock_off_an_hour(at: Struck) -> None:
    """The node's clock is an hour ahead for the actor, and an hour behind for the sweeps that come then."""
    shift_clock(at.scene, HOUR)
    at.go_on()
    shift_clock(at.scene, -HOUR)
    _look_around(at.scene)
    shift_clock(at.scene, 0)


def clock_off_30_days(at: Struck) -> None:
    shift_clock(at.scene, MONTH)
    _look_around(at.scene)
    at.go_on()
    _look_around(at.scene)
    shift_clock(at.scene, 0)


def _look_around(scene: Scene) -> None:
    scene.sweep()
    scene.deliver()


def lands_after_the_fence(at: Struck) -> None:
    """The next request is on its way when its sender dies; a successor takes the task back, then the request lands."""
    at.scene.proxy.let_go()
    at.scene.proxy.next_meets(Trouble.IN_FLIGHT, at.method)
    at.process.go_on()
    while at.process.runs and not at.scene.proxy.wait_held(0.0):
        time.sleep(0.003)
    at.process.kill()
    _sent_back(at.scene)
    at.scene.sweep()
    at.scene.deliver()
    at.scene.proxy.deliver()


def _sent_back(scene: Scene) -> None:
    try:
        operator.reject(scene.engine, scene.item, "ann", "not like this")
    except UsageError:
        return  # nothing to send back: it is over


def answer_lost(at: Struck) -> None:
    """The next change lands, and nobody hears of it."""
    at.scene.proxy.let_go()
    at.scene.proxy.next_meets(Trouble.CUT_ANSWER, at.method)
    _quietly(at)


def not_done(at: Struck) -> None:
    """The next changes are not done: a 500, a 502, and one that is lost on its way."""
    at.scene.proxy.let_go()
    for trouble in (Trouble.ERROR_500, Trouble.ERROR_502, Trouble.LOSE):
        at.scene.proxy.next_meets(trouble)
    _quietly(at)


def _quietly(at: Struck) -> None:
    at.process.go_on()
    at.process.wait_ended()
    at.scene.deliver()


def webhooks_doubled(at: Struck) -> None:
    """The forge's and the tracker's webhooks come twice and in the wrong order, beside the actor."""
    scene, ids = at.scene, []
    for number, source in enumerate(("local", "local", "local")):
        key = f"{scene.item}-{number // 2}"
        with scene.engine.store.transaction() as connection:
            body = json.dumps({"action": "closed", "merged": True, "item": scene.item}).encode()
            got = inbox.receive(
                connection, source=source, delivery=str(number), dedupe_key=key, event="pull_request", body=body
            )
        assert got.duplicate == (number == 1), "one delivery is kept once"
        ids.append(got.id)
    webhook = scene.start(Actor.GITEA, delivery=ids[-1])
    at.go_on()
    webhook.wait_ended()
    waiting = [*scene.nudges.take(), *(["delivery", one] for one in ids)]
    for name, *arguments in reversed([*waiting, *waiting]):
        scene.nudges._send(name, *arguments)


def disk_full(at: Struck) -> None:
    """The actor met ENOSPC at the boundary, by its failpoint; it has ended."""
    at.process.wait_ended()


def pid_reused(at: Struck) -> None:
    """The dead actor's pid belongs to somebody else. Where the kernel gives it to nobody, the probe says so."""
    at.process.kill()
    wait_a_tick()
    for _ in range(_TRIES):
        taker = at.scene.nursery.start(at.scene.parts.base, "nap", pid=at.process.pid)
        if taker.pid == at.process.pid:
            return
        taker.kill()
    at.scene.engine = replace(at.scene.engine, host=_TakenHost(at.scene.engine, at.process.pid))  # type: ignore[arg-type]  # it hands on the rest


class _TakenHost:
    """A host on which one pid belongs to a stranger that has just started."""

    def __init__(self, engine: Engine, pid: int) -> None:
        self._host, self._pid = engine.host, pid

    def process(self, pid: int) -> ProcessState | None:
        return ProcessState("S", 1) if pid == self._pid else self._host.process(pid)

    def liveness(self, owner: Owner) -> Liveness:
        return liveness(owner, self)  # type: ignore[arg-type]  # it hands on the rest

    def __getattr__(self, name: str) -> object:
        return getattr(self._host, name)


def stop(at: Struck) -> None:
    """A person wants it stopped at this moment."""
    operator.stop(at.scene.engine, at.scene.item, "ann")
    at.scene.deliver()
    at.go_on()


def stopped_past_ceiling(at: Struck) -> None:
    """It stands still for longer than anything may: Tier 3 kills it, sees it dead, and frees what it held."""
    at.process.signal(signal.SIGSTOP)
    at.process.wait_stopped()
    at.scene.proxy.let_go()
    hasty = build(moved(at.scene.parts, max_running_s=0.0), at.scene.engine.store)
    reaper.reap(hasty)
    at.process.go_on()
    held = at.cell.boundary not in (Boundary.BEFORE_ENTRY, Boundary.COMMITTED, Boundary.RELEASED)
    assert not (held and at.process.runs), "Tier 3 left a process that held the lease"
    at.process.wait_ended()


def take_over(at: Struck, successor: Actor) -> None:
    """The lease is taken from the parked actor, which lives; a successor has it when the zombie wakes, in the same
    visit, where only the epoch tells the two apart: the zombie writes nothing any more. Then the successor goes on."""
    scene = at.scene
    at.process.signal(signal.SIGSTOP)
    at.process.wait_stopped()
    operator.release_lease(scene.engine, scene.item, "ann")
    heir = scene.start(successor, "lease.acquired=stop")
    assert heir.wait_stopped(), f"{successor} did not get the lease: {heir.report()}"
    before = scene.rows(_GUARDED)
    scene.proxy.let_go()
    at.process.go_on()
    at.process.wait_ended()
    after = scene.rows(_GUARDED)
    assert after == before, f"I10 an owner without its lease wrote: {before} became {after}"
    heir.go_on()
    heir.wait_ended()


_GUARDED: Final = """SELECT stage, stage_seq, round, lease_epoch, parked_reason, merged_sha,
    (SELECT array_agg(format('%s %s %s %s', id, status, epoch, sent_at) ORDER BY id) FROM effects WHERE task_id = :t),
    (SELECT array_agg(id ORDER BY id) FROM deployments WHERE task_id = :t),
    (SELECT count(*) FROM gate_results WHERE task_id = :t)
  FROM tasks WHERE id = :t"""
"""What only the owner of a transition may write."""


FAULTS: Final[Mapping[Fault, Callable[[Struck], None]]] = {
    Fault.KILL_CHILD: kill_child,
    Fault.KILL_PARENT: kill_parent,
    Fault.BEAT_DEAD: beat_dead,
    Fault.BROKER_LOST: broker_lost,
    Fault.POSTGRES_STOP: postgres_stop,
    Fault.REBOOT: reboot,
    Fault.SECOND_FLEET: second_fleet,
    Fault.CLOCK_HOUR: clock_off_an_hour,
    Fault.CLOCK_MONTH: clock_off_30_days,
    Fault.IN_FLIGHT: lands_after_the_fence,
    Fault.ANSWER_LOST: answer_lost,
    Fault.NOT_DONE: not_done,
    Fault.WEBHOOKS: webhooks_doubled,
    Fault.DISK_FULL: disk_full,
    Fault.PID_REUSED: pid_reused,
    Fault.STOP: stop,
    Fault.TIER_3: stopped_past_ceiling,
}
