"""Race many callers on one thing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def at_once(count: int, call: Callable[[int], object]) -> list[object]:
    """Results or errors of ``call(0) … call(count - 1)``, started together."""
    line = threading.Barrier(count)

    def one(index: int) -> object:
        line.wait(timeout=30)
        try:
            return call(index)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
