"""A process of its own that drives or reaps. Prints one line of JSON: how each pass ended.

drive_process.py drive TASK ACTOR THREADS
drive_process.py reap          one sweep, then whatever drives it asked for
drive_process.py work ITEM     whatever moves the item, its agents too, until it leaves the stage it is at
"""

import json
import sys
import threading
from pathlib import Path

from orchestrator.bootstrap import build_engine
from orchestrator.domain.stages import Actor
from orchestrator.engine import intake, reaper
from orchestrator.engine.drive import drive
from orchestrator.settings import load_settings
from tests.engine.real_engine import HeldNudges, World

nudges = HeldNudges()
engine = build_engine(load_settings(), nudges, pool_size=4)
ended: list[object] = []


def one_drive(task: int, actor: str) -> None:
    driven = drive(engine, task, Actor(actor))
    ended.append([driven.kind, *driven.reasons])


if sys.argv[1] == "drive":
    task, actor, count = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    threads = [threading.Thread(target=one_drive, args=(task, actor)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
elif sys.argv[1] == "work":
    world, item = World(engine, nudges, Path(), load_settings()), sys.argv[2]
    intake.look_at_item(engine, "DEMO", item)
    began = world.stage(item)
    world.run_until(lambda: world.stage(item) != began, timeout_s=100)
else:
    summary = reaper.reap(engine)
    assert not summary.failures, summary
    drives = [arguments for name, arguments in nudges.held if name == "drive"]
    for arguments in drives:
        one_drive(int(str(arguments[0])), str(arguments[1]))
    ended.append(dict(summary.counts))
print(json.dumps(ended))
