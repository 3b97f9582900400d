"""Actors as real processes: a warmed process forks them in milliseconds, each with its failpoints and its identity.

``actors.py`` reads orders, one line of JSON each, and answers each with the pid of the process that it started.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from orchestrator import deploy_main, failpoints
from orchestrator.adapters import procfs
from orchestrator.adapters.deployers.deploy_files import DeployFiles
from orchestrator.domain.stages import Actor
from orchestrator.engine import deliveries, drive, finalizer, intake, operator, reaper, reconciler
from orchestrator.engine.context import Engine
from tests.crash.fleet import Parts, build, deploy_spec

_PDEATHSIG: Final = 1
Body = Callable[[Engine, "dict[str, Any]"], object]


def _drive(engine: Engine, order: dict[str, Any]) -> object:
    """One actor comes in by its own way, then through the one door."""
    actor, task = Actor(order["actor"]), int(order["task"])
    ENTRIES[actor](engine, order)
    driven = drive.drive(engine, task, actor)
    return [driven.kind, *driven.reasons]


def _by_tracker(engine: Engine, order: dict[str, Any]) -> None:
    intake.look_at_item(engine, order["parts"]["project"], order["item"])


def _by_delivery(engine: Engine, order: dict[str, Any]) -> None:
    if order.get("delivery"):
        deliveries.process_delivery(engine, order["delivery"])


ENTRIES: Final[dict[Actor, Callable[[Engine, dict[str, Any]], object]]] = {
    Actor.MONITOR: lambda engine, order: None,
    Actor.PLANE: _by_tracker,
    Actor.GITEA: _by_delivery,
    Actor.RECONCILER: lambda engine, order: reconciler.reconcile(engine),
    Actor.REAPER: lambda engine, order: reaper.reap(engine),
    Actor.FINALIZER: lambda engine, order: finalizer.finalize_deploys(finalizer.finalizer_parts(engine)),
    Actor.OPERATOR: lambda engine, order: operator.nudge(engine, order["item"]),
}
"""How each actor comes in before it drives."""


def deploy(engine: Engine, parts: Parts, deployment_id: int, environment: str) -> int:
    """The real detached deployer's work, in this process."""
    files = DeployFiles(parts.base)
    files.write_spec(deployment_id, deploy_spec(parts, environment))
    ports = engine.project(parts.project)
    found = deploy_main.DeployParts(
        store=engine.store,
        host=engine.host,
        deployer=ports.deployer,
        files=files,
        workspaces=lambda key: ports.workspaces,
        nudges=engine.nudges,
        environment={"PATH": os.environ["PATH"]},
    )
    return deploy_main.deploy(found, deployment_id)


def _deploy(engine: Engine, order: dict[str, Any]) -> object:
    return deploy(engine, Parts(**order["parts"]), int(order["deployment"]), str(order["environment"]))


def _sweep(engine: Engine, order: dict[str, Any]) -> object:
    return [str(reaper.reap(engine)), str(reconciler.reconcile(engine))]


def _nap(engine: Engine, order: dict[str, Any]) -> object:
    signal.alarm(300)
    signal.pause()
    return None


BODIES: Final[dict[str, Body]] = {"drive": _drive, "deploy": _deploy, "sweep": _sweep, "nap": _nap}


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever ends is gone at once, as under init
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        if order.get("pid"):
            _aim_at_pid(order["pid"])
        pid = os.fork()
        if pid == 0:
            _in_child(order)
        if not order.get("under_parent"):
            print(json.dumps([order["number"], _identity(pid), None]), flush=True)


def _identity(pid: int) -> tuple[int, int]:
    """Pid and start ticks; of one that has ended already the ticks of nobody."""
    seen = procfs.look(pid)
    return pid, 0 if seen is None else seen.start_ticks


def _aim_at_pid(pid: int) -> None:
    """The next process gets this pid, if the kernel lets us say so and it is free."""
    try:
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    except OSError:
        return


def _in_child(order: dict[str, Any]) -> None:
    """Never returns. As in a prefork worker, the child dies with its parent."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgid(0, 0)
    if order.pop("under_parent", False):
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _in_child(order)
        print(json.dumps([order["number"], _identity(pid), _identity(parent)]), flush=True)
        os.waitpid(pid, 0)
        signal.alarm(300)
        signal.pause()
        os._exit(0)
    code = 0
    try:
        _write(order, {"result": _run(order)})
    except BaseException as error:
        code = 1
        _write(order, {"error": type(error).__name__, "trace": traceback.format_exc()})
    os._exit(code)


def _run(order: dict[str, Any]) -> object:
    if order["act"] == "nap":
        return _nap(None, order)  # type: ignore[arg-type]  # it needs no engine
    failpoints.arm(order.get("failpoints", ""))
    return BODIES[order["act"]](build(Parts(**order["parts"])), order)


def _write(order: dict[str, Any], said: object) -> None:
    file = Path(order["said"])
    file.with_suffix(".new").write_text(json.dumps(said, default=str))
    file.with_suffix(".new").rename(file)


if __name__ == "__main__":
    main()
