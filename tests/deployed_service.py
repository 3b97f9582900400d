"""What tests deploy: ``start`` replaces the service of an environment by one of ORCH_SHA, ``serve`` is that service.

The state directory says how it goes: ``unhealthy`` lists versions that answer 503, ``hold`` makes ``start`` wait until
it is gone, ``broken`` makes it fail. ``runs`` gets a line each time; ``environment.json`` what it was given.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        sha, state = os.environ["ORCH_SHA"], Path(sys.argv[3])
        unhealthy = (state / "unhealthy").exists() and sha in (state / "unhealthy").read_text()
        self.send_response(503 if unhealthy else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"version": sha}).encode())

    def log_message(self, *args: object) -> None:
        pass


def serve(port: int) -> None:
    HTTPServer(("127.0.0.1", port), Answer).serve_forever()


def start(port: int, state: Path) -> None:
    (state / "environment.json").write_text(json.dumps(dict(os.environ)))
    with (state / "runs").open("a") as runs:
        runs.write(f"{os.environ['ORCH_ENVIRONMENT']} {os.environ['ORCH_SHA']} {os.environ['ORCH_DEPLOYMENT']}\n")
    (state / "command.pid").write_text(str(os.getpid()))
    while (state / "hold").exists():
        time.sleep(0.02)
    if (state / "broken").exists():
        sys.exit("the disk of the server is full")
    replace(port, state)


def replace(port: int, state: Path) -> None:
    pid_file = state / f"{os.environ['ORCH_ENVIRONMENT']}.pid"
    if pid_file.exists():
        with suppress(ProcessLookupError):
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
    argv = [sys.executable, "-I", "-S", __file__, "serve", str(port), str(state)]
    quiet = subprocess.DEVNULL
    service = subprocess.Popen(argv, start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet)
    pid_file.write_text(str(service.pid))
    for _ in range(500):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as answer:
            if json.load(answer)["version"] == os.environ["ORCH_SHA"]:
                return
        if (state / "unhealthy").exists():
            return
        time.sleep(0.01)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        start(int(sys.argv[2]), Path(sys.argv[3]))
