"""Deliveries: signed, doubled and out of order, to the real route; and hints of the built-in tracker, doubled too.

The built-in tracker and forge send no webhooks, so a delivery of Gitea is only kept and processed here. Its
consequences are tried by rows of the source «local», which is what such a delivery becomes for this project.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.store import inbox
from tests.chaos.arena import SECRET, Arena

POST: Final = Path(__file__).parent / "post.py"
_NEW: Final = 4
_LONGEST_S: Final = 90.0


class Webhooks:
    """What was answered with 202 must be kept once, and processed in the end."""

    def __init__(self, arena: Arena, chance: random.Random) -> None:
        self._arena, self._chance = arena, chance
        self._made = 0
        self._senders: list[subprocess.Popen[str]] = []
        self.accepted: set[str] = set()

    def send(self) -> str:
        """Some new deliveries, each twice or thrice, in any order."""
        bodies = [self._body() for _ in range(_NEW)] * self._chance.choice((2, 3))
        self._chance.shuffle(bodies)
        self._hint_twice()
        url = f"http://127.0.0.1:{self._arena.place.ports.web}/webhooks/gitea"
        argv = [sys.executable, "-I", str(POST), url, SECRET]
        sender = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert sender.stdin is not None
        sender.stdin.write("".join(f"{body}\n" for body in bodies))
        sender.stdin.close()
        self._senders.append(sender)
        return f"{len(bodies)} posts of {_NEW} deliveries"

    def wait(self) -> None:
        """Until everything that is on its way was answered or given up."""
        for sender in self._senders:
            assert sender.stdout is not None
            self.accepted.update(sender.stdout.read().splitlines())
            sender.wait(_LONGEST_S)
        self._senders.clear()

    def problems(self) -> Iterator[str]:
        """What is wrong with the deliveries that were accepted."""
        with self._arena.store.transaction() as connection:
            rows = connection.exec_driver_sql("SELECT body, processed_at FROM inbox").all()
        kept = [bytes(row.body).decode() for row in rows]
        for body in sorted(self.accepted):
            if kept.count(body) != 1:
                yield f"I17: a delivery that was accepted is kept {kept.count(body)} times: {body}"
        unprocessed = sum(row.processed_at is None for row in rows)
        if unprocessed:
            yield f"I17: {unprocessed} deliveries were kept and never processed"

    def _body(self) -> str:
        self._made += 1
        return json.dumps({"number": self._made, "action": "synchronized"})

    def _hint_twice(self) -> None:
        body = self._body().encode()
        key = hashlib.sha256(body).hexdigest()
        for _ in range(2):
            with self._arena.store.transaction() as connection:
                row = inbox.receive(
                    connection, source="local", delivery=key, dedupe_key=key, event="changed", body=body
                )
            self._arena.nudges.process_deliveries([row.id])
