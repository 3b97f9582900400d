"""Copies of the tree, and test runs in them. The working tree itself is never changed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.mutants import witness
from tools.mutants.mutant import Mutant, mutated
from tools.mutants.verdict import Fate, Verdict, judge, read

_live: Final[set[subprocess.Popen[str]]] = set()
RUN_LIMIT_S: Final = 1800.0
"""One pytest run; longer means that the mutant made something wait for ever."""
WIDER: Final = (
    "tests/store",
    "tests/unit/test_ownership.py",
    "tests/unit/test_repair.py",
    "tests/unit/test_decide.py",
    "tests/adapters/test_local_forge.py",
    "tests/effects",
    "tests/engine",
    "tests/schedules",
)
"""What a mutant that its own killers missed is shown to before it counts as survived."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of tests over one mutant (None: the tree as it is)."""

    verdict: Verdict
    seconds: float
    output: str


@contextmanager
def copied(root: Path) -> Iterator[Path]:
    """A copy of what git knows of ``root``, and of new files that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        base = Path(folder) / "plain"
        for name in filter(None, listed.stdout.split("\0")):
            if (root / name).is_file():
                (base / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, base / name)
        yield base


@contextmanager
def applied(mutant: Mutant, plain: Path) -> Iterator[Path]:
    """A copy of ``plain`` (with what Python compiled there) with the mutant's edits in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder) / mutant.name
        shutil.copytree(plain, tree)
        for file, text in mutated(mutant, plain).items():
            path = tree / file
            path.write_text(text, encoding="utf-8")
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                compiled.unlink()
        yield tree


def run_tests(tree: Path, nodes: Sequence[str], *, first_failure: bool = True, workers: int = 0) -> Ran:
    """Run ``nodes`` in ``tree`` in this order, with that tree imported by every child process as well. ``workers``:
    that many processes at once, where the order does not matter."""
    options = [*(["-x"] if first_failure else []), *(["-n", str(workers), "--dist", "loadscope"] if workers else [])]
    with tempfile.TemporaryDirectory(prefix="mutant-run-") as folder:
        seen = Path(folder) / "seen.jsonl"
        began = time.monotonic()
        code, output = _pytest(tree, [*options, *nodes], seen)
        seconds = time.monotonic() - began
        verdict = judge(read(seen))
    if code not in (0, 1) and verdict.fate in (Fate.SURVIVED, Fate.UNCLEAR):
        last = (output.strip().splitlines() or ["it said nothing"])[-1]
        verdict = Verdict(Fate.UNCLEAR, (), f"pytest left with {code}: {last}")
    return Ran(verdict, seconds, output)


def tried(mutant: Mutant, plain: Path, *, every: bool = False, wider: Sequence[str] = WIDER) -> Ran:
    """The mutant against its own killers, and what they miss against ``wider``. ``every``: go on after the first kill;
    a killer that stays green is then a claim that is not true, and the mutant counts as survived."""
    with applied(mutant, plain) as tree:
        own = run_tests(tree, mutant.killers, first_failure=not every)
        if own.verdict.fate is not Fate.SURVIVED:
            return Ran(_held_to_its_word(mutant, own.verdict) if every else own.verdict, own.seconds, own.output)
        more = run_tests(tree, wider)
    return Ran(more.verdict, own.seconds + more.seconds, more.output)


def _held_to_its_word(mutant: Mutant, verdict: Verdict) -> Verdict:
    red = {one.node for one in verdict.by}
    green = [node for node in mutant.killers if not any(one == node or one.startswith(f"{node}[") for one in red)]
    if verdict.fate is not Fate.KILLED or not green:
        return verdict
    return Verdict(Fate.SURVIVED, verdict.by, f"these stay green: {', '.join(green)}")


def end_all() -> None:
    """Have every run of this process stop as Ctrl-C would: pytest takes down what its tests started."""
    for process in list(_live):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)


def _pytest(tree: Path, arguments: Sequence[str], seen: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-p", witness.__name__]
    environment = {**os.environ, "PYTHONPATH": str(tree), witness.FILE: str(seen)}
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    _live.add(process)
    try:
        output, _ = process.communicate(timeout=RUN_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return -1, f"{output}\nit ran longer than {RUN_LIMIT_S:.0f} s"
    finally:
        _live.discard(process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output
