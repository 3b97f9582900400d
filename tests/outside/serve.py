"""The process that is the outside: ``serve.py LOG FOLDER`` prints its loopback port and serves until stdin ends.

Actors reach it only through the proxy in front of it. Frames are pickled, four bytes of length first; both ends are of
one test run, on loopback.
"""

from __future__ import annotations

import os
import pickle
import socketserver
import struct
import sys
import threading
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import OrchestratorError
from tests.outside.model import Place
from tests.outside.proxy import Cut, Line, Refused, Rule, Trouble, carry

_LENGTH = struct.Struct(">I")


class World:
    """All places and their lines. One change at a time, as one disk has one order."""

    def __init__(self, log: Path, folder: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._folder = folder
        self._places: dict[str, Place] = {}
        self._lines: dict[str, Line] = {}
        self._lock = threading.RLock()

    def answer(self, project: str, port: str, method: str, args: Any, kwargs: Any) -> Any:
        if port == "proxy":
            return getattr(self, f"_{method}")(self._line(project), *args)
        line = self._line(project)
        return carry(line, method, lambda: self._land(project, port, method, args, kwargs))

    def _land(self, project: str, port: str, method: str, args: Any, kwargs: Any) -> Any:
        with self._lock:
            if project not in self._places:
                self._places[project] = Place(project, self._log, self._folder / project)
            return getattr(getattr(self._places[project], port), method)(*args, **kwargs)

    def _line(self, project: str) -> Line:
        with self._lock:
            return self._lines.setdefault(project, Line())

    # --- what a test tells the proxy

    def _rule(self, line: Line, trouble: str, method: str) -> None:
        line.held.clear()
        line.go.clear()
        line.rules.append(Rule(Trouble(trouble), method))

    def _wait_held(self, line: Line, timeout_s: float) -> bool:
        return line.held.wait(timeout_s)

    def _let_go(self, line: Line) -> None:
        line.go.set()

    def _calm(self, line: Line) -> None:
        line.rules.clear()
        line.go.set()

    def _deliver(self, line: Line) -> list[str]:
        """What was late lands now; a target that refuses it does so unheard. What was refused."""
        refused = []
        waiting = [*line.late, *line.after_next]
        line.late.clear()
        line.after_next.clear()
        for land in waiting:
            try:
                land()
            except OrchestratorError as error:
                refused.append(str(error))
        return refused

    def _forget(self, line: Line, project: str) -> None:
        with self._lock:
            self._places.pop(project, None)
            self._lines.pop(project, None)


class Handler(socketserver.StreamRequestHandler):
    """One connection of an actor, or of the test."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        while (frame := self._read()) is not None:
            try:
                reply = self._reply(*pickle.loads(frame))
            except Cut:
                return
            payload = pickle.dumps(reply)
            try:
                self.wfile.write(_LENGTH.pack(len(payload)) + payload)
            except OSError:
                return  # its sender is dead by now

    def _read(self) -> bytes | None:
        try:
            head = self.rfile.read(_LENGTH.size)
            return self.rfile.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else None
        except OSError:
            return None

    def _reply(self, project: str, port: str, method: str, args: Any, kwargs: Any) -> tuple[str, Any]:
        world: World = self.server.world  # type: ignore[attr-defined]  # set in main
        try:
            return "answer", world.answer(project, port, method, args, kwargs)
        except Refused as refused:
            return "status", str(refused)
        except OrchestratorError as error:
            return "refused", (type(error).__name__, error.message)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def main() -> None:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.world = World(Path(sys.argv[1]), Path(sys.argv[2]))  # type: ignore[attr-defined]  # read by Handler
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
