"""``orch verdict put``: how an agent files its verdict. Neither network nor database nor settings.

Exit codes: 0 filed, 2 not valid (each error by its path). An agent may repeat it until it is valid; the last
valid one counts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.adapters.verdict_files import artifact_errors, write_in_place
from orchestrator.domain.verdicts import MAX_BYTES, RUN_ID_PATH, VERDICT_PATH, InvalidVerdict, parse

if TYPE_CHECKING:
    import click

INVALID = 2


def put(raw: bytes, cwd: Path) -> tuple[int, list[str]]:
    """File ``raw`` as the verdict of the run whose worktree ``cwd`` is in; the exit code and the lines to print."""
    root = _worktree_above(cwd)
    if root is None:
        return INVALID, [f"$: no run here: {RUN_ID_PATH} is neither in {cwd} nor above it"]
    run_id = _run_id(root)
    if run_id is None:
        return INVALID, [f"$: {root / RUN_ID_PATH} is damaged: the orchestrator writes it, leave it as it is"]
    verdict = parse(raw, run_id)
    if isinstance(verdict, InvalidVerdict):
        return INVALID, list(verdict.errors)
    if errors := artifact_errors(root, verdict):
        return INVALID, list(errors)
    target = root / VERDICT_PATH
    write_in_place(target.parent, target.name, raw)
    return 0, [f"verdict filed: {verdict.kind} for run {run_id}"]


def _worktree_above(cwd: Path) -> Path | None:
    start = cwd.resolve()
    return next((one for one in (start, *start.parents) if (one / RUN_ID_PATH).is_file()), None)


def _run_id(root: Path) -> str | None:
    try:
        stored = json.loads((root / RUN_ID_PATH).read_bytes())
    except (OSError, ValueError):
        return None
    run_id = stored.get("run_id") if isinstance(stored, dict) else None
    return run_id if isinstance(run_id, str) else None


def verdict_group() -> click.Group:
    """The ``verdict`` command group. Click is imported here, so that ``put`` stays light."""
    import click

    @click.group("verdict")
    def verdict() -> None:
        """For agents: file the verdict of a run."""

    @verdict.command("put")
    @click.option("--json", "as_json", is_flag=True, help="Answer as JSON on stdout.")
    def put_command(as_json: bool) -> None:
        """Check the verdict on stdin and file it; exit code 2 and every error by its path until it is valid."""
        code, lines = put(sys.stdin.buffer.read(MAX_BYTES + 1), Path.cwd())
        if as_json:
            click.echo(json.dumps({"filed": code == 0, "lines": lines}))
        else:
            click.echo("\n".join(lines), err=code != 0)
        raise SystemExit(code)

    return verdict


def __getattr__(name: str) -> object:
    """``orchestrator.cli.verdict.verdict`` is the group, made when it is asked for."""
    if name == "verdict":
        return verdict_group()
    raise AttributeError(name)
