"""``python -m benchmarks.intake_load``: 200 signed deliveries a second for a minute; Valkey is killed and Postgres is
restarted in the middle. At the end every one that was answered is a row, once; exit 1 when one is missing.

A connection that breaks off is tried again, as Plane does it. Any answer counts as delivered there, so an error would
be a loss.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import text

from orchestrator.demo.place import free_ports
from orchestrator.embedded import EmbeddedStores
from orchestrator.engine import spool
from orchestrator.project_config import example_operator_config
from orchestrator.store.database import connect
from orchestrator.store.migrations import upgrade

SECRET: Final = "a-secret-of-a-benchmark"
_SENDERS: Final = 16
_TIMEOUT_S: Final = 30.0
"""Plane's own."""
_PATIENCE_S: Final = 300.0


@dataclass
class Tally:
    """What the senders saw. ``seconds``: from sending to the answer, of each that was answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    repeats: int = 0
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="orch-load-") as folder:
        return _measure(Path(folder), given.rate, given.seconds)


def _measure(folder: Path, rate: float, seconds: float) -> int:
    postgres, valkey = EmbeddedStores(folder / "p", valkey=False), EmbeddedStores(folder / "v", postgres=False)
    with postgres, valkey:
        upgrade(postgres.database_url)
        with _web(folder, postgres, valkey) as port:
            tally, began = Tally(), time.monotonic()
            senders = threading.Thread(target=_send_all, args=(port, rate, seconds, tally))
            senders.start()
            _break_stores(postgres, valkey, seconds)
            senders.join()
            took = time.monotonic() - began
        return _report(folder, postgres.database_url, tally, int(rate * seconds), took)


@contextmanager
def _web(folder: Path, postgres: EmbeddedStores, valkey: EmbeddedStores) -> Iterator[int]:
    """The web as the fleet serves it."""
    config = folder / "orchestrator.yml"
    config.write_text(example_operator_config(key="LOAD", repository=str(folder / "load.git")))
    (port,) = free_ports(1)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ORCH_")},
        "ORCH_DATA_DIR": str(folder / "data"),
        "ORCH_CONFIG": str(config),
        "ORCH_DATABASE_URL": postgres.database_url,
        "ORCH_BROKER_URL": valkey.broker_url,
        "ORCH_PLANE_WEBHOOK_SECRET": SECRET,
        "ORCH_LOG_LEVEL": "ERROR",
    }
    shape = ("-k", "gthread", "-w", "1", "--threads", "8", "--no-control-socket", "--log-level", "error")
    argv = (sys.executable, "-m", "gunicorn", *shape, "--bind", f"127.0.0.1:{port}", "web:create_app()")
    with (folder / "web.log").open("wb") as log:
        web = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        try:
            _await_web(port)
            yield port
        finally:
            web.send_signal(signal.SIGTERM)
            web.wait(_TIMEOUT_S)


def _await_web(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            _ask(port, "GET", "/livez", b"", {})
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the web did not come up")


def _break_stores(postgres: EmbeddedStores, valkey: EmbeddedStores, seconds: float) -> None:
    """A third into it the broker dies and stays away for a while; in the middle the database is restarted."""
    time.sleep(seconds / 3)
    os.kill(valkey.pids["valkey"], signal.SIGKILL)
    time.sleep(seconds / 6)
    postgres.stop()
    time.sleep(seconds / 20)
    postgres.start()
    valkey.stop()
    valkey.start()


def _send_all(port: int, rate: float, seconds: float, tally: Tally) -> None:
    waiting: queue.Queue[int | None] = queue.Queue()
    workers = [threading.Thread(target=_sender, args=(port, waiting, tally)) for _ in range(_SENDERS)]
    for worker in workers:
        worker.start()
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        waiting.put(number)
    for _ in workers:
        waiting.put(None)
    for worker in workers:
        worker.join()


def _sender(port: int, waiting: queue.Queue[int | None], tally: Tally) -> None:
    while (number := waiting.get()) is not None:
        _deliver(port, number, tally)


def _deliver(port: int, number: int, tally: Tally) -> None:
    body = json.dumps({"event": "issue", "action": "updated", "data": {"number": number, "name": "x" * 1500}}).encode()
    headers = {
        "Content-Type": "application/json",
        "X-Plane-Event": "issue",
        "X-Plane-Delivery": f"delivery-{number}",
        "X-Plane-Signature": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
    }
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        began = time.monotonic()
        try:
            status = _ask(port, "POST", "/webhooks/plane", body, headers)
        except (OSError, http.client.HTTPException):
            with tally.lock:
                tally.repeats += 1
            time.sleep(0.5)
            continue
        with tally.lock:
            tally.statuses[status] += 1
            tally.seconds.append(time.monotonic() - began)
        return


def _ask(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _report(folder: Path, database_url: str, tally: Tally, sent: int, took: float) -> int:
    store = connect(database_url)
    drained = 0
    while moved := spool.drain(store, spool.directory(folder / "data")):
        drained += moved
    with store.transaction() as connection:
        rows = connection.execute(text("SELECT count(*), count(DISTINCT delivery) FROM inbox")).one()
    store.engine.dispose()
    ordered = sorted(tally.seconds)
    print(f"{sent} deliveries in {took:.0f} s ({sent / took:.0f} a second); answers {dict(tally.statuses)}")
    print(f"connections tried again {tally.repeats}; left on disk at the end and drained {drained}")
    if ordered:
        slow = ordered[int(len(ordered) * 0.99)]
        print(f"answer after {statistics.median(ordered):.3f} s (median), {slow:.3f} s (99 %)")
    print(f"rows {rows[0]}, different deliveries {rows[1]}, missing {sent - rows[1]}")
    good = rows[0] == rows[1] == sent and set(tally.statuses) == {202}
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
