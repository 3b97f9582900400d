"""Acts that are accepted at once and done by the fleet: stay until their end is known, or say that it is not yet."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final

import click

from orchestrator.cli import exits

_POLL_S: Final = 0.5
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """A time span of the command line in seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None:
        raise click.BadParameter("allowed are seconds, or a number with s, m or h: 90, 15m, 2h")
    return float(found.group(1)) * _UNITS[found.group(2)]


wait_option: Final[Callable[[Callable[..., Any]], Callable[..., Any]]] = click.option(
    "--wait",
    "wait_s",
    callback=seconds,
    help="Stay until it has ended, at most so long (90, 15m, 2h); exit code 8 when it is still on its way.",
)


def code_within(timeout_s: float, look: Callable[[], int | None]) -> int:
    """The exit code that ``look`` gives once the end is known; PENDING when it is not known in time."""
    deadline = time.monotonic() + timeout_s
    while (code := look()) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            return exits.PENDING
        time.sleep(min(_POLL_S, left))
    return code
