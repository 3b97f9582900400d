"""How long a person waits for ``orch --help``: interfaces promise less than 150 ms."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.figure import Figure

_RUNS: Final = 10
_ORCH: Final = Path(sys.executable).with_name("orch")


def figures() -> Iterator[Figure]:
    _once()  # the first start compiles bytecode
    times = [_once() for _ in range(_RUNS)]
    yield Figure("orch --help, median of 10", statistics.median(times) * 1000, "ms", limit=150)


def _once() -> float:
    began = time.perf_counter()
    subprocess.run([_ORCH, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
