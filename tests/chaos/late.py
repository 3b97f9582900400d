"""Requests of git that land late, so that their sender may be dead by then: see the script in ``arena``."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.arena import LateGit


class LateRequests:
    """One sender is named for each time that it is on."""

    def __init__(self, late: LateGit) -> None:
        self._late = late
        self._named = True

    def begin(self, delay_s: float) -> None:
        """From now on each push and each move of a ref waits that long before it is done."""
        for old in self._late.senders.iterdir():
            old.unlink()
        self._late.flag.write_text(f"{delay_s:g}\n")
        self._named = False

    def end(self) -> None:
        self._late.flag.unlink(missing_ok=True)
        self._named = True

    def sender(self) -> int | None:
        """Pid of who sent a request that waits now; told once."""
        if self._named:
            return None
        written = next((_pid(one) for one in self._late.senders.iterdir()), None)
        self._named = written is not None
        return written


def _pid(file: Path) -> int | None:
    words = file.read_text().strip()
    return int(words) if words.isdigit() else None
