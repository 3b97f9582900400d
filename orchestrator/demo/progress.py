"""Live progress on stderr: a table on a terminal, else a line for each step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.demo.story import STORY
from orchestrator.store.read_models import ItemRow

_COLOURS: Final = {
    "working": "cyan", "done": "green", "cancelled": "bright_black", "parked": "red", "stopping": "magenta",
}  # fmt: skip


class Progress:
    """Shows the board and lines about it. Context manager; the terminal is given back at exit."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._began = time.monotonic()
        self._shown: dict[str, tuple[str, str]] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back; lines are still written."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, line: str) -> None:
        """One line, with the seconds since the start."""
        self._console.print(Text(f"{time.monotonic() - self._began:6.1f} s  {line}"), soft_wrap=True)

    def show(self, rows: Sequence[ItemRow]) -> None:
        """The board as it is now."""
        for row in rows:
            before, now = self._shown.get(row.work_item), (str(row.stage), str(row.state))
            self._shown[row.work_item] = now
            if before is None or before[0] != now[0]:
                came = "" if before is None else f"{before[0]} -> "
                self.say(f"{row.work_item:8} {came}{now[0]}")
        if self._live is not None:
            self._live.update(_board(rows))


def _board(rows: Sequence[ItemRow]) -> Table:
    tells = {item.title: item.tells for item in STORY}
    table = Table("item", "title", "stage", "state", "what it waits for", expand=True, title="orch demo")
    for row in sorted(rows, key=lambda one: one.task_id):
        why = row.reasons[0] if row.reasons and row.state not in ("done", "cancelled") else tells.get(row.title, "")
        state = Text(str(row.state), style=_COLOURS.get(str(row.state), ""))
        table.add_row(row.work_item, Text(row.title), str(row.stage), state, Text(why, overflow="ellipsis"))
    return table
