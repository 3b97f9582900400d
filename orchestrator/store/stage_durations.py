"""How long tasks stay in their stages. Counted in the stage commit itself, so that a scrape reads some dozens of rows
however long the history is."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from orchestrator.domain.stages import Stage
from orchestrator.store import counters

BUCKETS_S: Final = (10, 30, 60, 300, 900, 1800, 3600, 4 * 3600, 24 * 3600)
"""From a scripted stage to a stage that waited for a person overnight."""

_BUCKET: Final = "stage_duration_bucket"
_TOTAL: Final = "stage_duration_ms"


@dataclass(frozen=True, slots=True)
class Durations:
    """How long stages took, by (stage, result): the count in each bucket of ``BUCKETS_S``, the count and the sum."""

    samples: Mapping[tuple[str, str], tuple[tuple[int, ...], int, float]]


def count(connection: Connection, source: Stage, target: Stage, seconds: float) -> None:
    """A task left ``source`` for ``target`` after so many seconds. The counters are locked until the commit, always in
    this order."""
    label = f"{source}/{_result(source, target)}"
    counters.add(connection, _BUCKET, f"{label}/{bisect_right(BUCKETS_S, seconds)}")
    counters.add(connection, _TOTAL, label, by=round(seconds * 1000))


def _result(source: Stage, target: Stage) -> str:
    if target is Stage.CANCELLED:
        return "cancel"
    return "roll_back" if target is Stage.DEVELOPMENT and source is not Stage.ARCHITECTURE else "forward"


def durations(counted: Mapping[tuple[str, str], int]) -> Durations:
    """What ``count`` has counted, out of all counters by (name, label)."""
    buckets: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * (len(BUCKETS_S) + 1))
    totals: dict[tuple[str, str], float] = {}
    for (name, label), value in counted.items():
        if name == _BUCKET:
            stage, result, bucket = label.split("/")
            buckets[stage, result][int(bucket)] = value
        elif name == _TOTAL:
            stage, result = label.split("/")
            totals[stage, result] = value / 1000
    return Durations({key: (tuple(one), sum(one), totals.get(key, 0.0)) for key, one in buckets.items()})
