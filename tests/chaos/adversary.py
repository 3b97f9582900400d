"""Does what the plan says, at its time or as soon after it as there is somebody to hit, and undoes what lasts."""

from __future__ import annotations

import random
import signal
import subprocess
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from sqlalchemy.exc import DBAPIError

from orchestrator.demo.story import PROJECT
from orchestrator.domain.errors import OrchestratorError
from orchestrator.engine import operator
from orchestrator.fleet import FleetError
from orchestrator.fleet.identity import ProcessIdentity, children, identify
from tests.chaos import broker, victims
from tests.chaos.arena import Arena
from tests.chaos.late import LateRequests
from tests.chaos.machine import OwnMachine, fill
from tests.chaos.observer import Observer
from tests.chaos.plan import Fault, Kind
from tests.chaos.second_beat import SecondBeat
from tests.chaos.victims import Victim
from tests.chaos.webhooks import Webhooks

BY: Final = "chaos"
_PATIENCE_S: Final = 40.0
"""How long a fault waits for somebody to hit before it is given up and told as not done."""
_DEAD_S: Final = 15.0


@dataclass(order=True, slots=True)
class Undoing:
    """What is to be undone, and when."""

    at: float
    what: str = field(compare=False)
    undo: Callable[[], None] = field(compare=False)


class Adversary:
    """``tick`` many times a second; ``end`` undoes whatever lasts. ``done`` counts faults by kind and target."""

    def __init__(
        self, arena: Arena, machine: OwnMachine, observer: Observer, plan: Sequence[Fault], say: Callable[[str], None]
    ) -> None:
        self._arena, self._machine, self._observer, self._say = arena, machine, observer, say
        self._plan = deque(plan)
        self._waiting: list[tuple[float, Fault]] = []
        self._undoings: list[Undoing] = []
        self._chance = random.Random(f"adversary {len(plan)} {plan[0].pick if plan else 0}")
        self._late = LateRequests(arena.late)
        self._second_beat = SecondBeat(arena.settings)
        self.webhooks = Webhooks(arena, self._chance)
        self._began = time.monotonic()
        self.done: Counter[str] = Counter()
        self.not_done: list[str] = []

    def begin(self) -> None:
        """The plan's time starts now."""
        self._began = time.monotonic()

    def tick(self) -> None:
        """Whatever is due. A database that is away delays what has to look into it."""
        now = time.monotonic()
        while self._plan and now - self._began >= self._plan[0].at_s:
            self._waiting.append((now + _PATIENCE_S, self._plan.popleft()))
        self._undo_due(now)
        self._kill_late_senders()
        self._waiting = [one for one in self._waiting if not self._settled(*one, now)]

    @property
    def spent(self) -> bool:
        return not self._plan and not self._waiting

    def end(self) -> None:
        """No fault stands any more."""
        self.not_done += [f"{fault}: its time was over" for _, fault in self._waiting]
        self.not_done += [f"{fault}: the run was over" for fault in self._plan]
        self._waiting.clear()
        self._plan.clear()
        self._undo_due(float("inf"))
        self._late.end()
        self._second_beat.end()

    def _settled(self, deadline: float, fault: Fault, now: float) -> bool:
        try:
            done = self._strike(fault)
        except (DBAPIError, FleetError, OrchestratorError, OSError):
            done = ""  # in the middle of another fault: once more later
        if done:
            self.done[f"{fault.kind} {fault.target}".strip()] += 1
            self._say(f"{fault.kind} {fault.target}: {done}".replace(" :", ":"))
            return True
        if now > deadline:
            self.not_done.append(f"{fault}: nobody to hit in {_PATIENCE_S:.0f} s")
        return now > deadline

    def _strike(self, fault: Fault) -> str:  # noqa: C901  # one line a kind
        match fault.kind:
            case Kind.KILL:
                return self._kill(fault)
            case Kind.STOP | Kind.FREEZE:
                return self._stop(fault)
            case Kind.DROP_BROKER_DATA:
                return self._drop_broker_data(fault)
            case Kind.RESTART_POSTGRES:
                return self._restart_postgres()
            case Kind.DOUBLE_NUDGES:
                return broker.double_nudges(self._arena, self._chance)
            case Kind.LATE_NUDGES:
                return self._hold_nudges(fault)
            case Kind.WEBHOOKS:
                return self.webhooks.send()
            case Kind.SECOND_BEAT:
                self._second_beat.start()
                self._undo_later(fault, self._second_beat.end)
                return "beside the first"
            case Kind.SECOND_FLEET:
                return self._second_fleet(fault)
            case Kind.REBOOT:
                return self._reboot(fault)
            case Kind.DISK_FULL:
                return self._fill_disk(fault)
            case Kind.PAUSE | Kind.PANIC | Kind.DRAIN:
                return self._throw(fault)
            case Kind.LATE_REQUESTS:
                return self._delay_requests(fault)
            case Kind.TAKE_LEASE:
                return self._take_lease(fault)
            case _:
                assert_never(fault.kind)

    # --- processes -------------------------------------------------------------------------------------------

    def _kill(self, fault: Fault) -> str:
        victim = victims.find(self._arena, fault.target, fault.pick)
        if victim is None:
            return ""
        watch = self._observer.killed(victim)
        # A parent alone leaves its children as orphans, one of them perhaps inside an edge.
        hit = victim.processes[:1] if fault.pick % 2 else victim.processes
        if not _send(hit, signal.SIGKILL):
            return ""
        watch()
        if fault.target == "supervisor":
            self._arena.fleet.kill()
            self._arena.start_again()
        return f"{victim.name} ({', '.join(str(one.pid) for one in hit)}){_holding(victim)}"

    def _stop(self, fault: Fault) -> str:
        victim = victims.find(self._arena, fault.target, fault.pick)
        if victim is None or (fault.kind is Kind.FREEZE and not victim.leases):
            return ""
        if not _send(victim.processes, signal.SIGSTOP):
            return ""
        _continue_after(victim, fault.lasts_s)
        self._observer.stopped(victim)

        def go_on() -> None:
            self._observer.stands_no_more(victim)
            if _send(victim.processes, signal.SIGCONT):
                self._observer.continued(victim)

        self._undo_later(fault, go_on)
        return f"{victim.name} ({victim.pids}){_holding(victim)} for {fault.lasts_s:.1f} s"

    def _reboot(self, fault: Fault) -> str:
        if self._machine.problem:
            return ""
        watch = self._observer.rebooted()
        boot_id = str(uuid.UUID(int=random.Random(fault.pick).getrandbits(128), version=4))
        self._kill_everything()
        with_second = self._arena.second is not None
        self._arena.stop_second(at_once=True)
        self._arena.fleet.kill()
        self._machine.change_boot_id(boot_id)
        self._arena.rebooted()
        self._arena.start_again()
        if with_second:
            self._arena.start_second()
        watch()
        return f"the machine is now in boot {boot_id[:8]}"

    def _kill_everything(self) -> None:
        deadline = time.monotonic() + _DEAD_S
        while time.monotonic() < deadline:
            living = victims.machine(self._arena)
            if not living:
                return
            for one in living:
                one.send(signal.SIGKILL)
            time.sleep(0.05)
        raise FleetError("the machine does not go down")

    # --- stores and messages ---------------------------------------------------------------------------------

    def _drop_broker_data(self, fault: Fault) -> str:
        if fault.pick % 2:
            broker.forget_everything(self._arena)
            self._observer.lost_broker_data()()
            return "every message, while it runs"
        victim = victims.find(self._arena, "valkey", fault.pick)
        if victim is None:
            return ""
        watch = self._observer.killed(victim)
        for one in victim.processes:
            one.send(signal.SIGKILL)
        broker.remove_files(self._arena)
        watch()
        return f"valkey ({victim.pids}) killed, its files removed"

    def _restart_postgres(self) -> str:
        victim = victims.find(self._arena, "postgres", 0)
        if victim is None:
            return ""
        watch = self._observer.killed(victim)
        victim.processes[0].send(signal.SIGQUIT)
        watch()
        return f"immediate shutdown of {victim.processes[0].pid}"

    def _hold_nudges(self, fault: Fault) -> str:
        held = broker.take_waiting(self._arena)
        if not held:
            return ""
        self._undo_later(fault, lambda: broker.put_back(self._arena, held, self._chance))
        return f"{len(held)} messages, in another order after {fault.lasts_s:.1f} s"

    # --- the rest --------------------------------------------------------------------------------------------

    def _second_fleet(self, fault: Fault) -> str:
        if self._arena.second is not None:
            return ""
        self._arena.start_second()
        at_once = bool(fault.pick % 2)
        self._undo_later(fault, lambda: self._arena.stop_second(at_once=at_once))
        return f"for {fault.lasts_s:.0f} s, then {'killed' if at_once else 'stopped'}"

    def _fill_disk(self, fault: Fault) -> str:
        if self._machine.problem:
            return ""
        ballast = fill(self._arena.runs)
        self._undo_later(fault, lambda: ballast.unlink(missing_ok=True))
        return f"{ballast.stat().st_size >> 20} MiB of ballast for {fault.lasts_s:.1f} s"

    def _throw(self, fault: Fault) -> str:
        engine = self._arena.engine
        match fault.kind:
            case Kind.PAUSE:
                operator.pause(engine, "*" if fault.pick % 2 else PROJECT, BY)
                self._undo_later(fault, self._calm)
            case Kind.PANIC:
                operator.panic(engine, BY)
                self._undo_later(fault, self._calm)
            case _:
                operator.drain(engine, self._arena.settings.node, BY)
                self._undo_later(fault, self._calm)
        return f"for {fault.lasts_s:.1f} s"

    def _calm(self) -> None:
        engine = self._arena.engine
        for scope in ("*", PROJECT):
            operator.resume(engine, scope, BY)
        operator.calm(engine, BY)
        operator.drain(engine, self._arena.settings.node, BY, draining=False)

    def _delay_requests(self, fault: Fault) -> str:
        self._late.begin(1.0 + fault.pick % 3)
        self._undo_later(fault, self._late.end)
        return f"each by {1 + fault.pick % 3} s, senders killed meanwhile"

    def _kill_late_senders(self) -> None:
        """A request that is on its way lands after its sender is dead."""
        sender = self._late.sender()
        process = None if sender is None else identify(sender)
        if process is None:
            return
        edges = self._arena.fleet.pid("edges")
        if edges is not None and process.pid in children(edges) and process.send(signal.SIGKILL):
            self.done["kill sender of a late request"] += 1
            self._say(f"kill sender of a late request: edges.child ({process.pid})")

    def _take_lease(self, fault: Fault) -> str:
        victim = victims.find(self._arena, "edges.child", fault.pick)
        if victim is None or not victim.leases:
            return ""
        lease = victim.leases[0]
        key = self._observer.work_item(lease.task_id)
        watch = self._observer.lost_lease(lease)
        operator.release_lease(self._arena.engine, key, BY, epoch=lease.epoch)
        watch()
        return f"{key} {lease.edge} is taken from its living owner"

    # --- undoing ---------------------------------------------------------------------------------------------

    def _undo_later(self, fault: Fault, undo: Callable[[], None]) -> None:
        at = time.monotonic() + fault.lasts_s
        self._undoings.append(Undoing(at, f"{fault.kind} {fault.target}".strip(), undo))
        self._undoings.sort()

    def _undo_due(self, now: float) -> None:
        due = [one for one in self._undoings if one.at <= now]
        self._undoings = [one for one in self._undoings if one.at > now]
        for one in due:
            try:
                one.undo()
            except (DBAPIError, OrchestratorError, OSError):
                # In the middle of another fault. It must be undone in the end, whatever it takes.
                self._undoings.append(Undoing(time.monotonic() + 0.5, one.what, one.undo))
            else:
                self._say(f"over: {one.what}")
        if due and now == float("inf") and self._undoings:
            time.sleep(0.2)
            self._arena.keep_up()
            self._undo_due(now)


def _continue_after(victim: Victim, seconds: float) -> None:
    """By a process of its own: this one may wait for the very database that it has stopped."""
    pids = [str(one.pid) for one in victim.processes]
    words = 'sleep "$0"; kill -s CONT "$@" 2>/dev/null'
    subprocess.Popen(["/bin/sh", "-c", words, f"{seconds:.1f}", *pids], start_new_session=True)


def _send(processes: Sequence[ProcessIdentity], number: signal.Signals) -> bool:
    """Signal each of them; whether any was still there."""
    reached = [one.send(number) for one in processes]
    return any(reached)


def _holding(victim: Victim) -> str:
    return "".join(f", inside {one.edge} of task {one.task_id}" for one in victim.leases)
