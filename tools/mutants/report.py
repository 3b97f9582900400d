"""What is printed: one row a mutant, for people or for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tools.mutants.mutant import Mutant
from tools.mutants.verdict import Fate, Verdict


@dataclass(frozen=True, slots=True)
class Row:
    """A mutant and its fate. ``seconds`` is the wall clock of all runs over it."""

    mutant: Mutant
    verdict: Verdict
    seconds: float

    @property
    def is_killed(self) -> bool:
        return self.verdict.fate is Fate.KILLED


def one_line(row: Row) -> str:
    by = ", ".join(one.node for one in row.verdict.by)
    told = f"by {by} in {row.seconds:.0f} s ({row.verdict.why})" if row.is_killed else row.verdict.why
    return f"{row.mutant.name:28} {row.verdict.fate:8} {told}"[:400]


def as_json(rows: Iterable[Row]) -> str:
    return json.dumps(
        [
            {
                "mutant": row.mutant.name,
                "protection": row.mutant.protection,
                "flag": row.mutant.flag,
                "breaks": row.mutant.breaks,
                "fate": row.verdict.fate,
                "by": [one.node for one in row.verdict.by],
                "why": row.verdict.why,
                "seconds": round(row.seconds, 1),
            }
            for row in rows
        ],
        indent=2,
    )


def as_markdown(rows: Iterable[Row]) -> str:
    lines = ["| protection | mutant | without it | breaks | killed by | s |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.mutant.protection} | `{row.mutant.name}` | {row.mutant.removes} | {row.mutant.breaks} "
        f"| {_by(row)} | {row.seconds:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _by(row: Row) -> str:
    return "<br>".join(f"`{one.node}`" for one in row.verdict.by) or f"**{row.verdict.fate}** {row.verdict.why}"


def listing(mutants: Sequence[Mutant]) -> str:
    return "\n".join(
        f"{one.name:28} {one.protection:32} {one.flag or '-':24} {one.breaks:16} {one.removes}" for one in mutants
    )


def last_line(rows: Sequence[Row], protections: int) -> str:
    killed = sum(row.is_killed for row in rows)
    return f"{killed} of {len(rows)} mutants killed; they take out {protections} protections"
