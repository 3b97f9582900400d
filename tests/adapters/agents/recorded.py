"""Recorded runs of the real agent CLIs, laid out as the shim leaves a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from orchestrator.ports import RunExit, RunOutput

_FILES: Final = Path(__file__).parents[2] / "fixtures" / "agents"
ENDED_AT: Final = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Recording:
    """One run. ``code`` as Python gives it: negative is a signal, None had to be killed."""

    cli: str
    case: str
    version: str
    code: int | None
    stdout: tuple[object, ...]
    stderr: str

    def exit(self, reason: str = "exited") -> RunExit:
        """The exit record that the shim would leave."""
        code = -9 if self.code is None else self.code
        return RunExit(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            reason=reason,
            ended_at=ENDED_AT,
            strays=0,
        )

    def lay_out(self, directory: Path) -> RunOutput:
        """Its output as files; a line that was no JSON is written as it stood."""
        lines = [one if isinstance(one, str) else json.dumps(one) for one in self.stdout]
        (directory / "stdout.log").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        (directory / "stderr.log").write_text(self.stderr, encoding="utf-8")
        return RunOutput(directory / "stdout.log", directory / "stderr.log", self.exit())


def recordings(cli: str) -> Mapping[str, Recording]:
    """Every recorded run of that CLI by its case."""
    found = {}
    for line in (_FILES / f"{cli}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["case"]] = Recording(
            cli, row["case"], row["version"], row["exit"], tuple(row["stdout"]), row["stderr"]
        )
    return found
