"""The end: what became of each item, and the table of effects with what was counted outside; as text and as data."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.demo.result import Result
from orchestrator.domain.stages import EffectKind
from orchestrator.store.read_models import plain


def print_result(result: Result, console: Console) -> None:
    """Everything that a person wants to see at the end."""
    console.print(_items(result))
    console.print(_effects(result))
    for kill in result.kills:
        console.print(Text(str(kill)))
    for note in result.notes:
        console.print(Text(note))
    for problem in result.problems:
        console.print(Text(f"problem: {problem}", style="bold red"), soft_wrap=True)
    done = "every effect exactly once" if not result.problems else f"{len(result.problems)} problems"
    console.print(
        Text(f"{done}; production answers {result.version[:12]}; {result.seconds:.0f} s, {len(result.kills)} kills"),
        style="bold red" if result.problems else "bold green",
    )


def _items(result: Result) -> Table:
    table = Table("item", "title", "the story", "ended", "sent back", title="Work items")
    for one in result.items:
        style = "red" if list(one.problems()) else "green"
        ended = Text(str(one.state), style=style)
        table.add_row(one.work_item, one.item.title, one.item.tells, ended, str(one.roll_backs))
    return table


def _effects(result: Result) -> Table:
    """One column an item, one line a kind; a figure that does not agree is red."""
    cells, keys = result.cells(), [one.work_item for one in result.items]
    wrong = {(one.kind, one.work_item) for one in result.counted if one.problem}
    table = Table("effect", *keys, title="Effects: claimed / done / counted outside")
    for kind in EffectKind:
        row = []
        for key in keys:
            figures = cells.get((kind, key))
            text = "" if figures is None else " / ".join(map(str, figures))
            row.append(Text(text, style="red" if (kind, key) in wrong else ""))
        if any(row):
            table.add_row(str(kind), *row)
    return table


def as_data(result: Result) -> dict[str, object]:
    """The same for programs."""
    return {
        "ok": not (result.problems or result.left_over),
        "seconds": round(result.seconds, 1),
        "version": result.version,
        "items": [
            {
                "plan": one.item.plan,
                "work_item": one.work_item,
                "title": one.item.title,
                "expected": str(one.item.ends),
                "state": str(one.state),
                "roll_backs": one.roll_backs,
                "path": [str(stage) for stage in one.path],
            }
            for one in result.items
        ],
        "effects": [
            {"kind": str(kind), "work_item": key, "claimed": claimed, "done": done, "counted": counted}
            for (kind, key), (claimed, done, counted) in sorted(result.cells().items())
        ],
        "claims": [
            {
                "work_item": one.work_item,
                "kind": str(one.kind),
                "target": one.target,
                "visit": one.visit,
                "landing": one.landing,
                "status": str(one.status),
                "counted": one.landed,
                "allowed": one.allowed,
                "ok": not one.problem,
            }
            for one in result.counted
        ],
        "kills": plain(list(result.kills)),
        "notes": list(result.notes),
        "left_over": list(result.left_over),
        "problems": list(result.problems),
    }
