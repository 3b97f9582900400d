"""What a run was and how it ended: for people and for programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.observer import WANTED_S, Group, Takeover


@dataclass(frozen=True, slots=True)
class Report:
    """``items`` counts items by their state at the end; ``load`` is the machine's load average meanwhile, by core."""

    seed: int
    minutes: float
    seconds: float
    rest_s: float
    faults: Mapping[str, int]
    not_done: tuple[str, ...]
    items: Mapping[str, int]
    takeovers: tuple[Takeover, ...]
    relaunches: tuple[str, ...]
    notes: tuple[str, ...]
    violations: tuple[str, ...]
    load: float
    data_dir: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one group, in seconds."""

    count: int
    median: float
    p99: float
    longest: float
    disturbed: bool = False


def figures(takeovers: Sequence[Takeover]) -> dict[Group, Figures]:
    """By group, of takeovers that nothing else was hit during; of all where every one was disturbed."""
    found = {}
    for group in Group:
        mine = [one for one in takeovers if one.group is group]
        alone = sorted(one.seconds for one in mine if one.alone)
        times = alone or sorted(one.seconds for one in mine)
        if times:
            middle, p99 = percentile(times, 50), percentile(times, 99)
            found[group] = Figures(len(times), middle, p99, times[-1], disturbed=not alone)
    return found


def percentile(times: Sequence[float], share: float) -> float:
    """The smallest of the sorted ``times`` that ``share`` percent of them do not exceed (nearest rank)."""
    return times[max(0, math.ceil(share / 100 * len(times)) - 1)]


def lines(report: Report) -> Iterator[str]:
    """For people."""
    yield f"chaos: seed {report.seed}, {report.minutes:g} min of faults, {report.seconds:.0f} s in all"
    yield f"faults: {sum(report.faults.values())}: {_listed(report.faults)}"
    yield f"not done: {len(report.not_done)}"
    yield from (f"  {one}" for one in report.not_done)
    yield f"items: {sum(report.items.values())}: {_listed(report.items)}; at rest after {report.rest_s:.0f} s"
    yield f"takeover in seconds (load {report.load:.1f} a core): n, p50, p99, max, wanted p99"
    for group, one in figures(report.takeovers).items():
        wanted = f"{WANTED_S[group]:g}" if group in WANTED_S else "-"
        beside = "  each beside another fault" if one.disturbed else ""
        yield f"  {group:18} {one.count:4} {one.median:7.2f} {one.p99:7.2f} {one.longest:7.2f} {wanted:>5}{beside}"
    yield from (f"started again: {one}" for one in report.relaunches)
    yield from (f"note: {one}" for one in report.notes)
    yield from (f"VIOLATION: {one}" for one in report.violations)
    yield f"{len(report.violations)} violations"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def as_data(report: Report) -> dict[str, object]:
    """For programs."""
    measured = figures(report.takeovers)
    return {
        "seed": report.seed,
        "minutes": report.minutes,
        "seconds": round(report.seconds, 1),
        "rest_s": round(report.rest_s, 1),
        "faults": dict(report.faults),
        "not_done": list(report.not_done),
        "items": dict(report.items),
        "takeover_s": {
            str(group): {
                "count": one.count,
                "p50": round(one.median, 2),
                "p99": round(one.p99, 2),
                "max": round(one.longest, 2),
                "wanted_p99": WANTED_S.get(group),
                "all": [round(each.seconds, 2) for each in report.takeovers if each.group is group],
                "alone": [round(each.seconds, 2) for each in report.takeovers if each.group is group and each.alone],
            }
            for group, one in measured.items()
        },
        "started_again": list(report.relaunches),
        "notes": list(report.notes),
        "violations": list(report.violations),
        "load": round(report.load, 2),
        "data_dir": report.data_dir,
    }


def counted(words: Sequence[str]) -> Mapping[str, int]:
    return Counter(words)
