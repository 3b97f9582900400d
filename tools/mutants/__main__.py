"""``python -m tools.mutants``: take out one protection after the other and show which test goes red.

First the killers must be green on the tree as it is. Exit 1 when a mutant survives, does not run, or shows nothing;
2 on wrong use or when an edit no longer fits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from tools.mutants import report
from tools.mutants.mutant import DoesNotFit, Mutant, mutated
from tools.mutants.report import Row
from tools.mutants.table import MUTANTS
from tools.mutants.trial import copied, end_all, run_tests, tried
from tools.mutants.verdict import Fate

ROOT: Final = Path(__file__).parents[2]


def main(arguments: Sequence[str]) -> int:
    wanted = _options().parse_args(arguments)
    mutants = [one for one in MUTANTS if not wanted.only or one.name in wanted.only]
    unknown = set(wanted.only or ()) - {one.name for one in MUTANTS}
    if unknown:
        print(f"no such mutant: {', '.join(sorted(unknown))}; see --list", file=sys.stderr)
        return 2
    if wanted.list:
        print(report.listing(mutants))
        return 0
    try:
        for one in mutants:
            mutated(one, ROOT)
    except DoesNotFit as error:
        print(error, file=sys.stderr)
        return 2
    return _judge_all(mutants, wanted)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="this mutant alone; may be repeated")
    parser.add_argument("--list", action="store_true", help="the mutants, and what each takes out")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout, progress on stderr")
    parser.add_argument("--markdown", action="store_true", help="the result as a table for docs/proofs.md")
    parser.add_argument("--every", action="store_true", help="go on after the first kill: does each killer kill?")
    parser.add_argument("--workers", type=int, default=2, help="how many mutants are tried at once")
    return parser


def _judge_all(mutants: Sequence[Mutant], wanted: argparse.Namespace) -> int:
    progress = sys.stderr if wanted.json or wanted.markdown else sys.stdout

    def tell(line: str) -> None:
        print(line, file=progress, flush=True)

    with copied(ROOT) as plain:
        if not _is_green(plain, mutants, wanted.workers, tell):
            return 1
        rows = _tried(plain, mutants, wanted, tell)
    if wanted.json:
        print(report.as_json(rows))
    if wanted.markdown:
        print(report.as_markdown(rows))
    tell(report.last_line(rows, len({row.mutant.protection for row in rows})))
    return 0 if all(row.is_killed for row in rows) else 1


def _is_green(plain: Path, mutants: Sequence[Mutant], workers: int, tell: Callable[[str], None]) -> bool:
    """A test that is red anyhow kills nothing."""
    killers = list(dict.fromkeys(node for one in mutants for node in one.killers))
    ran = run_tests(plain, killers, first_failure=False, workers=workers)
    green = ran.verdict.fate is Fate.SURVIVED
    tell(f"{len(killers)} killers are {'green' if green else 'NOT green'} without any mutant, {ran.seconds:.0f} s")
    if not green:
        tell(ran.output)
    return green


def _tried(
    plain: Path, mutants: Sequence[Mutant], wanted: argparse.Namespace, tell: Callable[[str], None]
) -> list[Row]:
    with ThreadPoolExecutor(wanted.workers) as pool:
        running = [pool.submit(_row, one, plain, every=wanted.every) for one in mutants]
        try:
            for done in as_completed(running):
                tell(report.one_line(done.result()))
        except BaseException:  # Ctrl-C, most of all: the threads wait for runs in sessions of their own
            pool.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise
    return [one.result() for one in running]


def _row(mutant: Mutant, plain: Path, *, every: bool) -> Row:
    ran = tried(mutant, plain, every=every)
    return Row(mutant, ran.verdict, ran.seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
