"""How answers look: JSON for programs, aligned lines for people. Text that others wrote cannot steer the terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STATE_COLOURS: Final = {
    "working": "cyan",
    "parked": "yellow",
    "blocked": "yellow",
    "stopping": "magenta",
    "done": "green",
    "cancelled": "bright_black",
}

json_option: Final[Callable[[Callable[..., Any]], Callable[..., Any]]] = click.option(
    "--json", "as_json", is_flag=True, help="Answer as JSON on stdout."
)
yes_option: Final[Callable[[Callable[..., Any]], Callable[..., Any]]] = click.option(
    "--yes", is_flag=True, help="Do it without asking (needed where there is no terminal)."
)


def printable(text: str) -> str:
    """``text`` without control characters: titles and evidence come from outside, and a terminal obeys them."""
    return _CONTROL.sub("�", text)


def answer(data: object, lines: Iterable[str], *, as_json: bool) -> None:
    """Print an answer: ``data`` as JSON, or ``lines`` for people."""
    if as_json:
        click.echo(as_text(data))
    else:
        for line in lines:
            click.echo(line)


def as_text(data: object, *, indent: int | None = 2) -> str:
    """``data`` as JSON text; dataclasses, times and enumerations included."""
    from orchestrator.store.read_models import plain

    return json.dumps(plain(data), indent=indent, ensure_ascii=False, default=str)


def note(text: str) -> None:
    """Progress for people, on stderr."""
    click.echo(printable(text), err=True)


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> list[str]:
    """Rows as aligned columns; the last one is as wide as it is."""
    clean = [[printable(cell) for cell in row] for row in rows]
    table = [list(header), *clean] if header else clean
    if not table:
        return []
    widths = [max(len(row[number]) for row in table) for number in range(len(table[0]))]
    aligned = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    if header:
        aligned[0] = click.style(aligned[0], bold=True)
    return aligned


def coloured(state: str) -> str:
    """The name of a state in its colour; without one where stdout is no terminal."""
    return click.style(state, fg=_STATE_COLOURS.get(state))


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in one or two letters and figures: ``42s``, ``3m``, ``5h``, ``2d``."""
    if moment is None:
        return "-"
    return duration(((now or datetime.now(UTC)) - moment).total_seconds())


def duration(seconds: float) -> str:
    """A time span as people say it: seconds under two minutes, then minutes, hours, days."""
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= 2 * size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def clock(moment: datetime) -> str:
    """Local time of day with its date."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short(sha: str | None) -> str:
    """The first letters of a commit."""
    return sha[:10] if sha else "-"


def confirm(act: str, *, yes: bool) -> None:
    """Have a person agree to an act that cannot be taken back. Raises UsageError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        from orchestrator.domain.errors import UsageError

        raise UsageError(f"this cannot be taken back: {act}", remedy="repeat it with --yes")
    click.confirm(f"{act}. This cannot be taken back. Go on?", abort=True, err=True)
