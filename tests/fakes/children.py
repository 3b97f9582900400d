"""``ports.ChildRunner`` that runs nothing: the test says how each command ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.ports import CommandResult


@dataclass(frozen=True)
class Ran:
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    files: tuple[str, ...]
    timeout_s: float


@dataclass
class FakeChildren:
    result: CommandResult = field(default_factory=lambda: CommandResult(0, "", 0.1))
    ran: list[Ran] = field(default_factory=list)

    def run(
        self, argv: Sequence[str], *, cwd: Path, timeout_s: float, environment: Mapping[str, str] | None = None
    ) -> CommandResult:
        files = tuple(sorted(str(one.relative_to(cwd)) for one in cwd.rglob("*") if one.is_file()))
        self.ran.append(Ran(tuple(argv), dict(environment or {}), files, timeout_s))
        return self.result
