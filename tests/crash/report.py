"""``docs/crash-matrix.md``: which cells there are, and whether each holds. The same results give the same text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.domain.stages import EffectKind
from tests.crash.cells import Boundary, Cell, Fault, Group, cells, why_not

HOLDS: Final = "holds"
BROKEN: Final = "BROKEN"
NOT_RUN: Final = "not run"
_LETTERS: Final = {"h": HOLDS, "b": BROKEN, "n": NOT_RUN}
_MEMORY: Final = re.compile(r"<!-- ([0-9a-f]{12}) ([hbn]+) -->")
_HEAD: Final = """\
# The crash matrix

Every step boundary of every effect, crossed with every fault. Written by `make matrix` and `make crash`, never by hand.
The cells come from the tables of the code (`tests/crash/cells.py`): a new effect, gate, stage or actor is in here by
itself. What a cell does and what is checked after it: `tests/crash/`, `tests/outside/checker.py`.

`+`: it holds; `.`: it did not run; a fraction: so many of several hold; empty: not a cell.

A cell brings a task to its boundary with real processes, strikes, lets the faults stop and the sweeps run, and then
asks: does every invariant hold, is the effect outside as often as the ledger says, is the task over or does it say why
it waits, is anything left behind?
"""
_WORDS: Final = {HOLDS: "+", BROKEN: "BROKEN", NOT_RUN: "."}
Results = Mapping[str, str]


def update(file: Path, results: Results) -> None:
    """Write the page anew: results of this run, and those of the page for cells that did not run now."""
    known = _read(file) if file.exists() else {}
    file.write_text(page({**known, **results}))


def _read(file: Path) -> dict[str, str]:
    """The results that the page keeps for the next run; none when the cells are others now."""
    found = _MEMORY.search(file.read_text())
    every = list(cells())
    if found is None or found[1] != _digest(every) or len(found[2]) != len(every):
        return {}
    return {cell.name: _LETTERS[letter] for cell, letter in zip(every, found[2], strict=True)}


def _memory(every: Sequence[Cell], results: Results) -> str:
    letters = {word: letter for letter, word in _LETTERS.items()}
    return f"<!-- {_digest(every)} {''.join(letters[results.get(cell.name, NOT_RUN)] for cell in every)} -->\n"


def _digest(every: Sequence[Cell]) -> str:
    return hashlib.sha256("\n".join(cell.name for cell in every).encode()).hexdigest()[:12]


def page(results: Results) -> str:
    """The whole page."""
    every = list(cells())
    parts = [_HEAD, _totals(every, results)]
    for group, title, rows, columns in _TABLES:
        parts.append(f"## {title}\n\n{_table([one for one in every if one.group is group], rows, columns, results)}")
    parts.append(_rest(every, results))
    return "\n".join(parts)


def _totals(every: Sequence[Cell], results: Results) -> str:
    lines = ["| part | cells | hold | broken | not run |", "|---|---|---|---|---|"]
    for group in (*Group, None):
        chosen = [cell for cell in every if group in (cell.group, None)]
        counts = [sum(results.get(one.name, NOT_RUN) == word for one in chosen) for word in (HOLDS, BROKEN, NOT_RUN)]
        lines.append(f"| {group or 'all'} | {len(chosen)} | {' | '.join(map(str, counts))} |")
    return (
        "\n".join(lines)
        + "\n\nNone is skipped: a combination without a meaning is not a cell, for one of these reasons:\n\n"
        + _reasons()
    )


def _reasons() -> str:
    found: dict[str, None] = {}
    for kind in EffectKind:
        for boundary in Boundary:
            for fault in (None, *Fault):
                found.setdefault(why_not(kind, boundary, fault))
    reasons = "\n".join(f"* {why}" for why in found if why)
    return f"None is skipped. A combination without a meaning is not a cell, for one of these reasons:\n\n{reasons}\n"


def _table(chosen: Sequence[Cell], row: Callable[[Cell], str], column: Callable[[Cell], str], results: Results) -> str:
    columns = _distinct(map(column, chosen))
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name in _distinct(map(row, chosen)):
        here = [cell for cell in chosen if row(cell) == name]
        words = [_word([one for one in here if column(one) == title], results) for title in columns]
        lines.append(f"| {name} | {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def _word(at: Sequence[Cell], results: Results) -> str:
    """One cell: its sign; several: how many of them hold."""
    if len(at) == 1:
        return _WORDS[results.get(at[0].name, NOT_RUN)]
    hold = sum(results.get(one.name, NOT_RUN) == HOLDS for one in at)
    return f"{hold}/{len(at)}" if at else ""


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _rest(every: Sequence[Cell], results: Results) -> str:
    broken = [f"- `{cell.name}`" for cell in every if results.get(cell.name) == BROKEN] or ["None."]
    return "## Cells that do not hold\n\n" + "\n".join(broken) + "\n\n" + _memory(every, results)


def _gate(cell: Cell) -> tuple[str, str]:
    name, _, moment = cell.boundary.rpartition(".")
    return name, moment


def _stop_column(cell: Cell) -> str:
    return f"{cell.boundary}, {cell.fault}"


_TABLES: Final[Sequence[tuple[Group, str, Callable[[Cell], str], Callable[[Cell], str]]]] = (
    (Group.CORE, "Merge, production deploy, image", lambda one: f"{one.effect}, {one.fault}", lambda one: one.boundary),
    (Group.OTHERS, "Every other effect", lambda one: f"{one.effect}, {one.boundary}", lambda one: one.fault),
    (
        Group.ZOMBIES,
        "An owner that lost its lease wakes after another went on",
        lambda one: f"{one.effect}, {one.actor} parked",
        lambda one: one.boundary,
    ),
    (Group.STOPS, "STOP itself", lambda one: one.stage, _stop_column),
    (
        Group.GATES,
        "An owner dies at a gate",
        lambda one: one.boundary.rpartition(".")[0],
        lambda one: one.boundary.rpartition(".")[2],
    ),
)
