"""Plays a recorded run of an agent CLI, and misbehaves as asked. Started by the real shim in place of the CLI.

FAKE_PLAY names a JSON file with ``stdout`` (lines), ``stderr`` and ``exit``; FAKE_MANNERS what it does beside that.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

manners = os.environ.get("FAKE_MANNERS", "").split(",")
play = json.loads(Path(os.environ["FAKE_PLAY"]).read_text("utf-8"))
Path("argv.json").write_text(json.dumps(sys.argv[1:]))

VERDICT: dict[str, object] = {
    "schema": "verdict/1",
    "run_id": os.environ["ORCH_RUN_ID"],
    "verdict": "pass",
    "summary": "done",
    "findings": [],
    "artifacts": [],
    "blocked_on": None,
}


def file_verdict(summary: str) -> None:
    written = Path(".orchestrator/verdict.json.t")
    written.write_text(json.dumps({**VERDICT, "summary": summary}))
    written.rename(".orchestrator/verdict.json")


if "ignores-sigterm" in manners:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if "hangs-on-stdin" in manners:
    os.close(0)
    reader, _writer = os.pipe()
    os.read(reader, 1)
Path("prompt-seen.txt").write_text(sys.stdin.read())
if "leaves-background" in manners:
    subprocess.Popen(["sleep", "300"], start_new_session=True)
if "double-forks" in manners and os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    Path("daemon.pid").write_text(str(os.getpid()))
    time.sleep(1.5 if "verdict-late" in manners else 300)
    file_verdict("late")
    time.sleep(300)
if "floods" in manners:
    noise = json.dumps({"type": "noise", "text": "x" * 4000}) + "\n"
    for _ in range(6000):
        sys.stdout.write(noise)
if "files-verdict" in manners:
    file_verdict("first")
if "files-verdict-twice" in manners:
    file_verdict("first")
    file_verdict("second")
for line in play["stdout"]:
    print(line if isinstance(line, str) else json.dumps(line), flush=True)
sys.stderr.write(play["stderr"])
sys.stderr.flush()
if "stays" in manners:
    while True:
        time.sleep(300)
code = 0 if "exits-0" in manners else play["exit"]
if code is not None and code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(0 if code is None else code)
