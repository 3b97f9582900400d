"""Configured commands of a repository, run in a throw-away checkout after its set-up.

A command that ran and said no is the change's own matter. One that could not run says nothing about the change: that
raises TransientError, which the engine records as ``error``.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.domain.errors import TransientError
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import plain, short
from orchestrator.ports import CommandResult

REPORT_LIMIT: Final = 32 * 1024 * 1024
"""Bytes of a report that are read: a real one of a large project stays under it."""
_PASS_TAIL: Final = 1_000
_FAIL_TAIL: Final = 6_500
_CANNOT_START: Final = (126, 127)
"""What a shell answers for a program that is not executable or not there."""
_ENDED_FROM_OUTSIDE: Final = (-9, -15, -2, -1, 128 + 9, 128 + 15)
"""SIGKILL, SIGTERM, SIGINT, SIGHUP, as seen directly or through a shell: no test fails by these, machines do."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: ``evidence`` is its command line, its end and the last of its output. ``report`` is the
    file that it was asked to leave, None when it left none."""

    succeeded: bool
    evidence: str
    report: bytes | None = None


def run_in_checkout(context: GateContext, sha: str, what: str, argv: Sequence[str], *, report: str = "") -> Ran:
    """Run the repository's set-up and then ``argv`` (named ``what``) with the files of ``sha``.

    Raises TransientError when a command could not run, LostRaceError when the lease is gone.
    """
    with context.ports.workspaces.checkout(sha) as folder:
        setup = context.repository.setup
        if setup:
            ready = _run(context, sha, "setup", setup, folder)
            if not ready.succeeded:
                _must_be_the_change(context, ready)
                return ready
        if not report:
            return _run(context, sha, what, argv, folder)
        # A report that was committed says nothing of this run.
        _remove(folder, report)
        ran = _run(context, sha, what, argv, folder)
        return Ran(ran.succeeded, ran.evidence, _report(folder, report))


def _run(context: GateContext, sha: str, what: str, argv: Sequence[str], folder: Path) -> Ran:
    timeout_s = context.repository.gates.timeout_s
    try:
        result = context.children.run(argv, cwd=folder, timeout_s=timeout_s)
    except OSError as error:
        result = CommandResult(127, str(error), 0.0)
    output = result.output.replace(f"{folder}/", "")
    line = f"{what} `{shlex.join(argv)}`"
    if result.timed_out:
        return Ran(False, _with_output(f"{line} was ended after {timeout_s} s, its limit", output, _FAIL_TAIL))
    if result.exit_code == 0:
        return Ran(True, _with_output(f"{line} passed in {result.duration_s:.1f} s", output, _PASS_TAIL))
    if result.exit_code in _CANNOT_START:
        return _not_started(context, sha, line, argv, output)
    if result.exit_code in _ENDED_FROM_OUTSIDE:
        raise TransientError(
            _with_output(f"{line} was killed from outside (exit code {result.exit_code})", output, _PASS_TAIL),
            remedy="see whether this node ran out of memory",
        )
    return Ran(False, _with_output(f"{line} failed with exit code {result.exit_code}", output, _FAIL_TAIL))


def _not_started(context: GateContext, sha: str, line: str, argv: Sequence[str], output: str) -> Ran:
    """A program that the base branch has and this commit has not was taken away by the change; else nobody here can
    start it, and the change is not to blame."""
    read = context.ports.workspaces.read_file
    places = [word.removeprefix("./") for word in argv if "/" in word or "." in word]
    gone = [one for one in places if _is_inside(one) and read(context.base_sha, one) and not read(sha, one)]
    if gone:
        return Ran(False, f"{line} cannot start: the change removed {', '.join(gone)}")
    raise TransientError(
        _with_output(f"{line} could not be started", output, _PASS_TAIL),
        remedy="install it on this node, or mend the command in .orchestrator.yml on the base branch",
    )


def _is_inside(path: str) -> bool:
    return bool(path) and not path.startswith(("/", "-")) and ".." not in path.split("/")


def _must_be_the_change(context: GateContext, ready: Ran) -> None:
    """A set-up that fails on the base branch too (a registry is down) says nothing about the change."""
    with context.ports.workspaces.checkout(context.base_sha) as folder:
        if not _run(context, context.base_sha, "setup", context.repository.setup, folder).succeeded:
            raise TransientError(
                f"{ready.evidence}\nIt fails on the base branch too, at {short(context.base_sha)}.",
                remedy="mend `setup` in .orchestrator.yml, or what it needs on this node",
            )


def _remove(folder: Path, report: str) -> None:
    place = _place(folder, report)
    if place is not None and (place.is_symlink() or place.is_file()):
        place.unlink()


def _report(folder: Path, report: str) -> bytes | None:
    place = _place(folder, report)
    if place is None or place.is_symlink() or not place.is_file():
        return None
    with place.open("rb") as file:
        return file.read(REPORT_LIMIT)


def _place(folder: Path, report: str) -> Path | None:
    """Where the report lies; None when a link that was committed leads out of the checkout."""
    parent = (folder / report).parent.resolve()
    return parent / Path(report).name if parent.is_relative_to(folder.resolve()) else None


def _with_output(line: str, output: str, limit: int) -> str:
    clean = plain(output, 4 * limit)
    shown = clean if len(clean) <= limit else f"[...]\n{clean[-limit:]}"
    return f"{line}\n{shown}".strip()
